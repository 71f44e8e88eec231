import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from starlette.types import Message

from vllm_worker.gateway.passage import DONE, Passage

CHAT = "/v1/chat/completions"


def event(text: str = "", **more: object) -> bytes:
    """As vLLM writes them."""
    choices = [{"index": 0, "delta": {"content": text}}]
    chunk = {"id": "a", "model": "m", "choices": choices} | more
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n".encode()


USAGE = event(choices=[], usage={"total_tokens": 3})


class Receiver:
    """A client, and what it has got."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def receive(self) -> Message:
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.sent if m["type"] == "http.response.body")


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def passage(receiver: Receiver) -> Passage:
    return passing(receiver, {})


def passing(receiver: Receiver, options: Any) -> Passage:
    body = {"model": "default/llama", "stream": True, "stream_options": options}
    passage = Passage(receiver.receive, receiver.send, CHAT, body)
    passage.open({"x-cache": "miss"})
    return passage


def still() -> None:
    """Closes nothing."""


async def given(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def through(passage: Passage, *parts: bytes) -> bytes:
    """What LiteLLM is told, which then ends its own answer."""
    told = b"".join([part async for part in passage.through(given(*parts), "pod", still)])
    await passage.answer({"type": "http.response.body", "body": DONE})
    return told


@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_a_client_has_each_event_under_its_name_of_the_model(
    step: int, passage: Passage, receiver: Receiver
) -> None:
    whole = event("Hel") + event("lo") + DONE
    parts = [whole[place : place + step] for place in range(0, len(whole), step)]
    assert await through(passage, *parts) == whole
    assert receiver.body == whole.replace(b'"model":"m"', b'"model":"default/llama"')
    assert receiver.sent[0]["status"] == 200
    assert {(b"x-provider", b"pod"), (b"x-cache", b"miss")} < set(receiver.sent[0]["headers"])


async def test_text_that_looks_like_a_model_stays(passage: Passage, receiver: Receiver) -> None:
    text = '"model":"m", "choices":[], "usage":{}'
    await through(passage, event(text), DONE)
    chunk = json.loads(receiver.body.split(b"\n\n")[0].removeprefix(b"data: "))
    assert chunk["choices"][0]["delta"]["content"] == text
    assert chunk["model"] == "default/llama"


@pytest.mark.parametrize(
    ("options", "shows_usage"),
    [
        ({"include_usage": True}, True),
        ({"include_usage": False}, False),
        (None, False),
        ("x", False),
    ],
)
async def test_usage_is_for_who_asks_for_it(
    options: Any, shows_usage: bool, receiver: Receiver
) -> None:
    whole = event("x") + USAGE + DONE
    assert await through(passing(receiver, options), whole) == whole
    assert (b"usage" in receiver.body) == shows_usage
    assert receiver.body.endswith(DONE)


@pytest.mark.parametrize(
    ("path", "body", "asked", "passes"),
    [
        (CHAT, {"stream": True}, CHAT, True),
        (CHAT, {"stream": True}, "/v1/responses", False),
        (CHAT, {"stream": "yes"}, CHAT, False),
        (CHAT, {}, CHAT, False),
        (CHAT, None, CHAT, False),
        ("/v1/messages", {"stream": True}, CHAT, False),
        ("/v1/messages", {"stream": True}, "/v1/messages", False),
    ],
)
def test_which_streams_pass(
    path: str, body: Any, asked: str, passes: bool, receiver: Receiver
) -> None:
    passage = Passage(receiver.receive, receiver.send, path, body)
    assert not passage.lets_through(asked)
    passage.open({})
    assert passage.lets_through(asked) == passes


@pytest.mark.parametrize("end", [b"", b"data: [DONE]", b"data: [DONE]\n"])
async def test_a_stream_without_a_proper_end_gets_one(
    end: bytes, passage: Passage, receiver: Receiver
) -> None:
    told = await through(passage, event("x") + end)
    assert receiver.body.count(DONE) == 1
    assert receiver.body.endswith(DONE)
    assert told.endswith(b"\n\n")


async def test_a_stream_that_litellm_ends_says_so(passage: Passage, receiver: Receiver) -> None:
    stream = passage.through(given(event("x"), event("y"), DONE), "pod", still)
    await anext(stream)
    await passage.answer({"type": "http.response.body", "body": b""})
    assert b"ended the stream" in receiver.body
    assert DONE not in receiver.body


async def test_a_connection_that_stays_open_does_not_hold_the_end(
    monkeypatch: pytest.MonkeyPatch, passage: Passage, receiver: Receiver
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield event("x") + DONE
        await asyncio.sleep(60)

    monkeypatch.setattr("vllm_worker.gateway.passage._END_S", 0.01)
    async for _ in passage.through(parts(), "pod", still):
        pass
    await passage.answer({"type": "http.response.body", "body": b""})
    assert receiver.body.endswith(DONE)


async def test_the_last_event_waits_for_litellm(passage: Passage, receiver: Receiver) -> None:
    async for _ in passage.through(given(event("x") + DONE), "pod", still):
        pass
    had = list(receiver.sent)
    assert DONE not in receiver.body
    await passage.answer({"type": "http.response.start", "status": 200, "headers": []})
    await passage.answer({"type": "http.response.body", "body": b"again", "more_body": True})
    assert receiver.sent == had
    await passage.answer({"type": "http.response.body", "body": b"end"})
    assert receiver.sent == [*had, {"type": "http.response.body", "body": DONE}]


async def test_before_a_stream_litellms_answer_is_the_clients(
    passage: Passage, receiver: Receiver
) -> None:
    messages: list[Message] = [
        {"type": "http.response.start", "status": 429, "headers": []},
        {"type": "http.response.body", "body": b"slower"},
    ]
    for message in messages:
        await passage.answer(message)
    assert receiver.sent == messages


async def test_a_provider_that_breaks_off_is_an_error_event(
    passage: Passage, receiver: Receiver
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield event("x") + b"data: {"
        raise aiohttp.ClientPayloadError

    with pytest.raises(aiohttp.ClientPayloadError):
        async for _ in passage.through(breaking(), "pod", still):
            pass
    *_, last, empty = receiver.body.split(b"\n\n")
    assert empty == b""
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert error["code"] == 502
    assert error["message"] == "pod broke off: ClientPayloadError"


async def test_the_stream_of_a_client_that_leaves_ends_at_the_provider(passage: Passage) -> None:
    closed: list[bool] = []
    async for _ in passage.through(given(event("x"), DONE), "pod", lambda: closed.append(True)):
        assert not closed
    await passage.listen()
    assert closed
    assert passage.left.is_set()


async def test_what_breaks_since_the_client_has_left_is_an_end_for_litellm(
    passage: Passage, receiver: Receiver
) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield event("x")
        await passage.listen()
        raise aiohttp.ClientPayloadError

    told = [part async for part in passage.through(breaking(), "pod", still)]
    assert told == [event("x")]
    assert b"broke off" not in receiver.body


async def test_litellm_hears_that_a_client_has_left_which_gets_no_stream(
    passage: Passage,
) -> None:
    await passage.listen({"type": "http.request", "body": b"{}"})
    heard = [(await passage.hear())["type"] for _ in range(3)]
    assert heard == ["http.request", "http.disconnect", "http.disconnect"]
