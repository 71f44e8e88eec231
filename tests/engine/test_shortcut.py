"""Streams that go past vLLM's application, compared with those that go through it."""

import json
from typing import Any

import pytest

from vllm_worker.configuration.catalogue import is_pictured
from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.protocol import RequestContext
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.jobs.inputs import OpenAIJob
from vllm_worker.routes import http
from vllm_worker.routes.allowlist import open_route
from vllm_worker.streaming.shortcut import EventForm
from vllm_worker.streaming.sse import Event

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
QUESTION = [{"role": "user", "content": "What is RunPod?"}]
SAMPLING: dict[str, Any] = {"max_tokens": 120, "temperature": 0, "ignore_eos": True}
USAGE = {"stream_options": {"include_usage": True}}
ODD = 'a "b" \\ \n\t é 漢 😀 \u2028 </s> {"content":"x"}'


async def stream(engine: VLLMEngine, path: str, body: dict[str, Any]) -> list[Any]:
    """The events, without what differs from request to request."""
    prompt = {"messages": QUESTION} if path == CHAT else {"prompt": "RunPod is"}
    given = {"model": "demo", "stream": True} | SAMPLING | prompt | body
    job = OpenAIJob(route=path, body=given)
    context, settings = RequestContext("id"), load_settings({})
    sent: list[bytes] = []

    async def sink(part: bytes) -> None:
        sent.append(part)

    route = open_route(path, False)
    async with http.answer(job, route, context, engine, settings, lambda error: b"") as answer:
        await answer.write(sink)
    assert all(part.endswith(b"\n\n") and part.count(b"\n\n") == 1 for part in sent)
    *events, done = [Event(part.decode()).data for part in sent]
    assert done == "[DONE]"
    return [json.loads(event) | {"id": "", "created": 0} for event in events]


def text_in(choice: Any) -> str:
    delta = choice.get("delta", choice)
    return str(delta.get("content") or delta.get("text") or "")


def texts(events: list[Any], index: int = 0) -> str:
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(text_in(choice) for choice in choices if choice["index"] == index)


def forms(events: list[Any]) -> list[str]:
    """The different events but for their texts, in their order."""
    without = [json.dumps(event) for event in events]
    for number, event in enumerate(events):
        for choice in event["choices"]:
            if text := text_in(choice):
                without[number] = without[number].replace(json.dumps(text), '"…"')
    return list(dict.fromkeys(without))


class Written:
    """How many events went past the application."""

    count = 0


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    written, event = Written(), EventForm.event

    def count(form: EventForm, text: str) -> bytes:
        written.count += 1
        return event(form, text)

    monkeypatch.setattr(EventForm, "event", count)
    return written


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "body",
    [
        USAGE,
        {},
        {"stop": ["serverless"], "ignore_eos": False},
        {"structured_outputs": {"choice": [ODD]}, "ignore_eos": False} | USAGE,
    ],
    ids=["usage", "plain", "stop", "odd text"],
)
async def test_the_stream_is_the_same(
    engine: VLLMEngine,
    path: str,
    body: dict[str, Any],
    written: Written,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = await stream(engine, path, body)
    if not is_pictured() and any("error" in event for event in short):
        pytest.skip("this vLLM cannot hold an output to a choice of such characters")
    assert written.count > 3
    monkeypatch.setattr(http, "Shortcut", lambda: None)
    before = written.count
    long = await stream(engine, path, body)
    assert written.count == before
    assert texts(short) == texts(long)
    assert forms(short) == forms(long)
    if body.get("structured_outputs"):
        assert texts(short) == ODD


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"logprobs": True}),
        (CHAT, {"return_token_ids": True}),
        (CHAT, {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        (CHAT, {"n": 2, "temperature": 1}),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        (COMPLETIONS, {"logprobs": 1}),
        (COMPLETIONS, {"prompt": ["a", "b"]}),
    ],
)
async def test_events_with_more_than_a_text_are_left_to_vllm(
    engine: VLLMEngine, path: str, body: dict[str, Any], written: Written
) -> None:
    events = await stream(engine, path, body)
    assert written.count == 0
    assert texts(events)


async def test_a_stream_that_is_closed_leaves_nothing_in_the_engine(engine: VLLMEngine) -> None:
    job = OpenAIJob(
        route=CHAT, body={"model": "demo", "messages": QUESTION, "stream": True} | SAMPLING
    )
    parts = 0

    class LeftError(Exception):
        pass

    async def sink(part: bytes) -> None:
        nonlocal parts
        parts += 1
        if parts == 10:
            raise LeftError

    ends: list[Any] = []
    context, settings = RequestContext("id"), load_settings({})

    def explain(error: Any) -> bytes:
        ends.append(error)
        return b""

    route = open_route(CHAT, False)
    async with http.answer(job, route, context, engine, settings, explain) as answer:
        await answer.write(sink)
    assert isinstance(ends[0].__cause__, LeftError)
    assert engine.unfinished_requests == 0
