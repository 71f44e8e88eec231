"""LoRA adapters as models of their own, beside a model with two names."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.adapters import (
    ANSWER,
    CONTENT,
    REASONING,
    make_adapter,
    make_untrained_adapter,
)
from tests.support.running import running_worker_and_endpoint
from tests.support.served_model import ServedModel
from tests.support.tool_calls import CHAT as TOOL_CHAT
from tests.support.tool_calls import the_call
from tests.support.worker_process import START_S, WorkerProcess

# The adapter has not been trained with it.
QUESTION: list[Any] = [{"role": "user", "content": "What is RunPod?"}]
PROMPT = "<|im_start|>user\nWhat is RunPod?<|im_end|>\n<|im_start|>assistant\n"
MODELS = ["demo", "acme/demo"]
ADAPTERS = ["pirate", "workspace/pirate"]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 160}


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter with which the model says ANSWER to everything."""
    folder = tmp_path_factory.mktemp("adapter")
    make_adapter(folder)
    return folder


@pytest.fixture(scope="module")
def adapter_worker(adapter: Path) -> Iterator[tuple[ServedModel, WorkerProcess]]:
    environment = {
        "ENABLE_LORA": "1",
        "LORA_MODULES": json.dumps([{"name": name, "path": str(adapter)} for name in ADAPTERS]),
        "MAX_LORA_RANK": "8",
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": ",".join(MODELS),
        "REASONING_PARSER": "granite",
        "ENABLE_AUTO_TOOL_CHOICE": "1",
        "TOOL_CALL_PARSER": "mine",
        "TOOL_PARSER_PLUGIN": str(Path(__file__).parents[1] / "support/tool_parser_plugin.py"),
    }
    with running_worker_and_endpoint(environment) as (worker, endpoint):
        yield ServedModel(endpoint.url), worker


@pytest.fixture(scope="module")
def model(adapter_worker: tuple[ServedModel, WorkerProcess]) -> ServedModel:
    return adapter_worker[0]


def chat(model: ServedModel, name: str) -> tuple[str | None, str]:
    """The reasoning and the content of an answer."""
    answer = model.client.chat.completions.create(model=name, messages=QUESTION, **GREEDY)
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert answer.model == (name if name in ADAPTERS else MODELS[0])
    return getattr(choice.message, "reasoning", None), choice.message.content or ""


def chat_in_chunks(model: ServedModel, name: str) -> tuple[str | None, str]:
    chunks = model.client.chat.completions.create(
        model=name, messages=QUESTION, stream=True, **GREEDY
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    reasoning = "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)
    return reasoning or None, "".join(delta.content or "" for delta in deltas)


def check(name: str, answer: tuple[str | None, str]) -> None:
    reasoning, content = answer
    if name in ADAPTERS:
        # vLLM's parser leaves the spaces around.
        assert ((reasoning or "").strip(), content.strip()) == (REASONING, CONTENT)
    else:
        assert reasoning is None
        assert "RunPod" in content


def text(outputs: list[dict[str, Any]]) -> str:
    return "".join(text for output in outputs for text in output["choices"][0]["tokens"])


# OpenAI's API


def test_each_name_and_each_adapter_is_a_model(model: ServedModel, adapter: Path) -> None:
    models = {listed.id: listed for listed in model.client.models.list()}
    assert list(models) == MODELS + ADAPTERS
    for name in MODELS:
        assert models[name].parent is None
    for name in ADAPTERS:
        assert models[name].parent == MODELS[0]
        assert models[name].root == str(adapter)


@pytest.mark.parametrize("ask", [chat, chat_in_chunks])
@pytest.mark.parametrize("name", MODELS + ADAPTERS)
def test_a_chat_is_answered_by_the_model_it_names(model: ServedModel, name: str, ask: Any) -> None:
    check(name, ask(model, name))


def test_models_and_adapters_answer_side_by_side(model: ServedModel) -> None:
    names = [ADAPTERS[0], MODELS[0], ADAPTERS[0], MODELS[1], ADAPTERS[1]] * 2
    with ThreadPoolExecutor(len(names)) as threads:
        answers = list(threads.map(lambda name: chat(model, name), names))
    for name, answer in zip(names, answers, strict=True):
        check(name, answer)


def test_other_routes_take_adapters_too(model: ServedModel) -> None:
    completion = model.client.completions.create(model="pirate", prompt=PROMPT, **GREEDY)
    assert completion.choices[0].text == ANSWER
    ordinary = model.client.completions.create(model="acme/demo", prompt=PROMPT, **GREEDY)
    assert "RunPod" in ordinary.choices[0].text
    response = model.client.responses.create(
        model="pirate", input=QUESTION[0]["content"], temperature=0
    )
    assert response.output_text.strip() == CONTENT
    assert [item.type for item in response.output] == ["reasoning", "message"]


@pytest.mark.parametrize("name", ["nobody", "workspace", "Pirate", "pirate "])
def test_an_unknown_adapter_is_not_found(model: ServedModel, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        model.client.chat.completions.create(model=name, messages=QUESTION)
    assert unknown.value.body["param"] == "model"
    assert f"`{name}` does not exist" in unknown.value.message


# Native jobs


@pytest.mark.parametrize("stream", [False, True])
def test_a_native_job_names_its_model(model: ServedModel, stream: bool) -> None:
    job = {"messages": QUESTION, "stream": stream, "sampling_params": GREEDY}
    for name in ADAPTERS:
        assert text(model.outputs(job | {"model": name})) == ANSWER
    ordinary = text(model.outputs(job))
    assert "RunPod" in ordinary
    for name in MODELS:
        assert text(model.outputs(job | {"model": name})) == ordinary


def test_a_native_prompt_and_a_beam_search_take_an_adapter(model: ServedModel) -> None:
    job = {"prompt": PROMPT, "model": "pirate", "sampling_params": GREEDY}
    assert text(model.outputs(job)) == ANSWER
    beams = {"use_beam_search": True, "best_of": 2, "max_tokens": 60}
    assert text(model.outputs(job | {"sampling_params": beams})) == ANSWER


def test_a_native_job_for_an_unknown_model_fails(model: ServedModel) -> None:
    error = model.error({"messages": QUESTION, "model": "nobody"})
    assert error == {
        "message": "The model `nobody` does not exist.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
    error = model.error({"messages": QUESTION, "model": 5})
    assert (error["code"], error["param"]) == (400, "model")


# Adapters that only vLLM can judge


def test_an_adapter_for_another_size_of_model_ends_the_start(tmp_path: Path) -> None:
    """vLLM by itself would take it, and fill it up with zeros."""
    layer = "model.layers.0.self_attn.q_proj"
    make_untrained_adapter(tmp_path / "good", layer, 256)
    make_untrained_adapter(tmp_path / "small", layer, 128)
    last = last_words_of_a_failed_start(good=tmp_path / "good", small=tmp_path / "small")
    assert last.endswith(
        f"adapter small ({tmp_path}/small) cannot be loaded: "
        f"it is for another model: {layer} has 256 inputs, not 128"
    )


def test_an_adapter_for_another_kind_of_model_ends_the_start(tmp_path: Path) -> None:
    layer = "model.layers.0.self_attn.q_proj"
    make_untrained_adapter(tmp_path / "good", layer, 256)
    make_untrained_adapter(tmp_path / "strange", "model.layers.0.mixer.in_proj", 256)
    last = last_words_of_a_failed_start(good=tmp_path / "good", strange=tmp_path / "strange")
    assert f"adapter strange ({tmp_path}/strange) cannot be loaded: " in last
    assert "model.layers.0.mixer.in_proj" in last


def last_words_of_a_failed_start(**adapters: Path) -> str:
    pairs = " ".join(f"{name}={folder}" for name, folder in adapters.items())
    worker = WorkerProcess({"PORT": "0", "LORA_MODULES": pairs})
    assert worker.exit_code(START_S) == 1, worker.log
    # Python itself may have something to say about processes that vLLM had to kill.
    return [line for line in worker.log.splitlines() if " worker | " in line][-1]


# A parser of tool calls that the configuration brings along, in the same worker


def test_a_parser_from_a_plugin(adapter_worker: tuple[ServedModel, WorkerProcess]) -> None:
    model, process = adapter_worker
    answer = model.client.chat.completions.create(**TOOL_CHAT, max_tokens=60)
    assert the_call(answer.choices[0].message) == {"city": "Paris"}
    process.wait_for("the plugin parses", timeout=5)


@pytest.mark.parametrize(("where", "what"), [("openai_route", "openai_input"), ("route", "body")])
def test_adapters_are_loaded_and_unloaded_at_run_time(
    runtime_model: ServedModel, adapter: Path, where: str, what: str
) -> None:
    """Where the operator allows it, by both forms of a job."""
    models = runtime_model.client.models
    load = {"lora_name": "pirate", "lora_path": str(adapter)}
    (done,) = runtime_model.outputs({where: "/v1/load_lora_adapter", what: load})
    assert "Success" in done
    assert [each.id for each in models.list()] == ["demo", "pirate"]
    answer = runtime_model.client.chat.completions.create(
        model="pirate", messages=QUESTION, **GREEDY
    )
    assert answer.choices[0].message.content == ANSWER
    unload = {"lora_name": "pirate"}
    (done,) = runtime_model.outputs({where: "/v1/unload_lora_adapter", what: unload})
    assert "Success" in done
    assert [each.id for each in models.list()] == ["demo"]
    with pytest.raises(openai.NotFoundError):
        models.retrieve("pirate")
    nowhere = load | {"lora_path": "/no/such/folder"}
    assert runtime_model.error({where: "/v1/load_lora_adapter", what: nowhere})["code"] < 500


@pytest.fixture(scope="module")
def runtime_model() -> Iterator[ServedModel]:
    settings = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "ENFORCE_EAGER": "1"}
    with running_worker_and_endpoint(settings) as (_, endpoint):
        yield ServedModel(endpoint.url)
