"""Jobs as the clients of worker-vllm send them, and what these clients read in the outputs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_worker.configuration.settings import load_settings
from vllm_worker.decoding.parameters import NAMES
from vllm_worker.engine.native_jobs import _schema
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.jobs.native_input import SAMPLING_PARAMETERS
from vllm_worker.worker import Worker

HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
FEW = {"max_tokens": 5, "temperature": 0}
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"


def gateway(route: str | None, **body: Any) -> dict[str, Any]:
    given = {"openai_route": route} if route else {}
    return given | {"openai_input": {"model": "demo", **body}}


def native_text(outputs: list[Any]) -> str:
    """As clients of older workers put it together."""
    for output in outputs:
        assert {"input", "output"} <= output["usage"].keys()
    return "".join(text for output in outputs for text in output["choices"][0]["tokens"])


def chat_text(outputs: list[Any]) -> str:
    return str(outputs[0]["choices"][0]["message"]["content"])


def completion_text(outputs: list[Any]) -> str:
    assert outputs[0]["usage"]["total_tokens"] > 0
    return str(outputs[0]["choices"][0]["text"])


def event_text(outputs: list[Any]) -> str:
    """RAW_OPENAI_OUTPUT: server-sent events, as the gateway passes them on."""
    assert all(isinstance(output, str) for output in outputs)
    text = "".join(outputs)
    assert text.startswith("data: ")
    assert text.rstrip().endswith("data: [DONE]")
    return text


NATIVE: list[dict[str, Any]] = [
    {"prompt": "Hi"},
    {"prompt": "Hi", "sampling_params": {}},
    {"prompt": "Hi", "sampling_params": None},
    {"prompt": "Hi", "sampling_params": FEW},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5.0, "top_k": 10.0}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "top_k": -1, "top_p": 1}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "min_p": 0.0, "stop": None}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "stop": ["\n\n", "User:"]}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "n": 1, "best_of": 1}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "use_beam_search": False}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "presence_penalty": 0.5}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "repetition_penalty": 1.1}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "seed": 3, "ignore_eos": True}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "skip_special_tokens": True}},
    {"prompt": "Hi", "sampling_params": {"max_tokens": 5, "truncate_prompt_tokens": 2}},
    {"prompt": "Hi", "max_tokens": 5, "temperature": 0},
    {"prompt": "Hi", "stream": False, "apply_chat_template": True},
    {"prompt": "Hi", "apply_chat_template": None, "stream": None},
    {"prompt": "Hi", "user": "me", "workflow": {"a": 1}},
    {"prompt": "Hi", "messages": HI, "sampling_params": FEW},
    {"messages": HI, "sampling_params": FEW},
    {"messages": HI, "sampling_params": FEW, "add_generation_prompt": True},
    {"messages": HI, "sampling_params": FEW, "chat_template_kwargs": {"enable_thinking": False}},
    {"messages": "Hi", "sampling_params": FEW},
    {"messages": HI, "tools": [{"type": "function", "function": {"name": "f"}}], "max_tokens": 5},
    {"prompt": "Hi", "guided_regex": "[ab]{3}", "max_tokens": 9},
    {"prompt": "Hi", "sampling_params": {"guided_choice": ["yes", "no"], "max_tokens": 9}},
    {"prompt": "Hi", "response_format": {"type": "json_object"}, "max_tokens": 9},
    {"prompt": "Hi", "stream": True, "max_batch_size": 5, "sampling_params": FEW},
    {"prompt": "Hi", "stream": True, "min_batch_size": 1, "batch_size_growth_factor": 3},
    {"messages": HI, "stream": True, "sampling_params": FEW, "batch_size_growth_factor": 2.0},
]
OPENAI: list[tuple[dict[str, Any], Callable[[list[Any]], str]]] = [
    (gateway(CHAT, messages=HI, max_tokens=5), chat_text),
    (gateway(CHAT, messages=HI, max_tokens=5, temperature=None, stop=None), chat_text),
    (gateway(CHAT, messages=HI, max_completion_tokens=5, user="me"), chat_text),
    (gateway(CHAT, messages=HI, max_tokens=9, guided_regex="[ab]{3}"), chat_text),
    (gateway(CHAT, messages=HI, max_tokens=5, stream=True), event_text),
    (gateway(None, messages=HI, max_tokens=5), chat_text),
    (gateway(None, prompt="Hi", max_tokens=5), completion_text),
    (gateway(COMPLETION, prompt="Hi", max_tokens=5), completion_text),
    (gateway(COMPLETION, prompt="Hi", max_tokens=5, stream=True), event_text),
    (gateway(COMPLETION, prompt="Hi", max_tokens=5) | {"stream": True, "x": 1}, completion_text),
]


async def outputs(engine: VLLMEngine, job_input: dict[str, Any]) -> list[Any]:
    worker = Worker(load_settings({}), engine)
    return [output async for output in worker.handle({"id": "job", "input": job_input})]


@pytest.mark.parametrize("job", NATIVE, ids=str)
async def test_a_native_job(engine: VLLMEngine, job: dict[str, Any]) -> None:
    given = await outputs(engine, job)
    assert "error" not in given[0], given
    assert native_text(given)
    assert (len(given) > 1) <= bool(job.get("stream"))


@pytest.mark.parametrize(("job", "read"), OPENAI, ids=[str(job) for job, _ in OPENAI])
async def test_a_job_of_the_gateway(
    engine: VLLMEngine, job: dict[str, Any], read: Callable[[list[Any]], str]
) -> None:
    given = await outputs(engine, job)
    assert "error" not in given[0], given
    assert read(given)


async def test_what_older_clients_ask_for_has_its_effect(engine: VLLMEngine) -> None:
    regex = native_text(await outputs(engine, {"prompt": "Hi", "guided_regex": "[ab]{3}"}))
    assert re.fullmatch("[ab]{3}", regex)
    schema = {"type": "string", "enum": ["yes", "no"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    job = {"prompt": "Hi", "response_format": response_format, "max_tokens": 40}
    assert native_text(await outputs(engine, job)).strip() in ('"yes"', '"no"')
    long = {"prompt": "one two three four five six", "max_tokens": 1}
    (whole,), (cut,) = (
        await outputs(engine, long),
        await outputs(engine, long | {"truncate_prompt_tokens": 2}),
    )
    assert cut["usage"]["input"] == 2 < whole["usage"]["input"]
    too_long = {"prompt": "word " * 3000, "max_tokens": 1, "truncate_prompt_tokens": -1}
    (as_many_as_fit,) = await outputs(engine, too_long)
    assert as_many_as_fit["usage"]["input"] == 1023


async def test_a_tool_reaches_the_template(engine: VLLMEngine) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    job = {"messages": HI, "max_tokens": 1}
    (bare,), (with_tool,) = (
        await outputs(engine, job),
        await outputs(engine, job | {"tools": [tool]}),
    )
    assert with_tool["usage"]["input"] > bare["usage"]["input"]


@pytest.mark.snapshot
def test_the_parameters_that_a_job_may_give_beside_sampling_params_are_vllms() -> None:
    assert _schema()[1] | NAMES == SAMPLING_PARAMETERS


TABLES = json.loads((Path(__file__).parents[1] / "compat/tables.json").read_text())
ROWS = [
    (table, name)
    for table in (
        "seed_chat",
        "seed_completions",
        "seed_native",
        "seed_sampling",
        "runpod_sampling",
    )
    for name in TABLES[table]
]


@pytest.mark.parametrize(("table", "name"), ROWS)
async def test_a_row_of_the_tables_is_taken_with_its_default(
    engine: VLLMEngine, table: str, name: str
) -> None:
    value = TABLES[table][name]
    form, fields = table.partition("_")[2], {name: value}
    if form in ("chat", "completions"):
        given = {"messages": HI} if form == "chat" else {"prompt": "Hi"}
        route = CHAT if form == "chat" else COMPLETION
        (output,) = await answered(engine, gateway(route, **given | {"max_tokens": 4} | fields))
        assert output["choices"][0]["finish_reason"]
        return
    if form == "sampling":
        fields = {"prompt": "Hi", "sampling_params": {"max_tokens": 4} | fields}
    elif name not in ("prompt", "messages"):
        fields |= {"prompt": "Hi"}
    outputs = await answered(engine, fields)
    assert outputs[-1]["choices"][0]["finish_reason"]


async def test_all_rows_of_a_table_at_once(engine: VLLMEngine) -> None:
    sampling = TABLES["seed_sampling"] | TABLES["runpod_sampling"]
    native = TABLES["seed_native"] | {"sampling_params": sampling}
    assert native_text(await answered(engine, native))
    assert chat_text(await answered(engine, gateway(CHAT, **TABLES["seed_chat"])))
    assert completion_text(
        await answered(engine, gateway(COMPLETION, **TABLES["seed_completions"]))
    )


async def answered(engine: VLLMEngine, job_input: dict[str, Any]) -> list[Any]:
    worker = Worker(load_settings({}), engine)
    outputs = [output async for output in worker.handle({"id": "job", "input": job_input})]
    assert "error" not in outputs[-1], outputs
    return outputs
