"""What older workers take: names of constraints, chats as text, and a default of max_tokens."""

import json
from typing import Any

import pytest

from tests.support.asking import run, text_of
from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.worker import Worker

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
MESSAGES = [{"role": "user", "content": "What is vLLM?"}]


async def answer(engine: VLLMEngine, job: dict[str, Any]) -> str:
    (output,) = await run(engine, job)
    (choice,) = output["choices"]
    return text_of(choice)


async def test_a_chat_may_be_a_plain_text(engine: VLLMEngine) -> None:
    parameters = {"max_tokens": 60, "temperature": 0}
    question = MESSAGES[0]["content"]
    native = await answer(engine, {"messages": question, "sampling_params": parameters})
    body = {"model": "demo", "messages": question} | parameters
    job = {"openai_route": "/v1/chat/completions", "openai_input": body}
    assert await answer(engine, job) == native
    assert native.startswith("vLLM is")


async def test_the_default_of_max_tokens_can_be_changed(engine: VLLMEngine) -> None:
    for environ, tokens in [({}, 16), ({"DEFAULT_MAX_TOKENS": "5"}, 5)]:
        worker = Worker(load_settings(environ), engine)
        job = {"id": "job", "input": {"prompt": "x", "sampling_params": {"ignore_eos": True}}}
        (output,) = [output async for output in worker.handle(job)]
        assert output["usage"]["output"] == tokens


@pytest.mark.parametrize(
    "constraint",
    [{"guided_json": SCHEMA}, {"structured_outputs": {"json": SCHEMA}}],
    ids=lambda constraint: next(iter(constraint)),
)
async def test_a_schema(engine: VLLMEngine, constraint: dict[str, Any]) -> None:
    parameters = {"max_tokens": 40, "temperature": 0} | constraint
    native = await answer(engine, {"messages": MESSAGES, "sampling_params": parameters})
    body = {"model": "demo", "messages": MESSAGES} | parameters
    openai = await answer(engine, {"openai_route": "/v1/chat/completions", "openai_input": body})
    assert json.loads(native)["answer"] in ("yes", "no")
    assert json.loads(openai) == json.loads(native)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("guided_choice", ["red", "green"], {"red", "green"}),
        ("guided_regex", "[ab]{3}", {a + b + c for a in "ab" for b in "ab" for c in "ab"}),
        ("guided_grammar", 'root ::= "left" | "right"', {"left", "right"}),
    ],
)
async def test_the_other_legacy_names(
    engine: VLLMEngine, name: str, value: Any, allowed: set[str]
) -> None:
    sampling = {"max_tokens": 20, "temperature": 0, name: value}
    assert await answer(engine, {"prompt": "x", "sampling_params": sampling}) in allowed
