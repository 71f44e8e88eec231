import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from starlette.types import Message

from vllm_worker.gateway.passage import Passage

DONE = b"data: [DONE]\n\n"


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
    passage = Passage(receiver.receive, receiver.send)
    passage.open("default/llama", shows_usage=False, headers={"x-cache": "miss"})
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


@pytest.mark.parametrize("shows_usage", [False, True])
async def test_usage_is_for_who_asks_for_it(
    shows_usage: bool, passage: Passage, receiver: Receiver
) -> None:
    passage.open("m", shows_usage=shows_usage, headers={})
    whole = event("x") + USAGE + DONE
    assert await through(passage, whole) == whole
    assert (USAGE in receiver.body) == shows_usage
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
    await passage.gone()
    assert (await passage.hear())["type"] == "http.disconnect"
