"""The form of a stream's events, and which outputs go past the application."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_worker.streaming.shortcut import EventForm, Shortcut

CHAT = (
    'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":TEXT},'
    '"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
)
COMPLETION = (
    'data: {"id":"c","choices":[{"index":0,"text":TEXT,"finish_reason":null}],"usage":null}\n\n'
)


def event(form: str, text: str) -> bytes:
    return form.replace("TEXT", text).encode()


@pytest.mark.parametrize("form", [CHAT, COMPLETION])
@pytest.mark.parametrize("text", ["c", "content", "id", "0"])
def test_the_form_of_an_event_is_all_but_its_text(form: str, text: str) -> None:
    found = EventForm.of(event(form, f'"{text}"'), text)
    assert found
    assert found.event('"\n\x1f\x7f é😀\u2028\\') == event(
        form, '"\\"\\n\\u001f\x7f é😀\u2028\\\\"'
    )


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ('"content":TEXT', '"content":"other"'),
        ('"content":TEXT', '"reasoning":TEXT'),
        ('"content":TEXT', '"role":"assistant","content":TEXT'),
        ('"content":TEXT', '"content":TEXT,"tool_calls":[{}]'),
        ('"logprobs":null', '"logprobs":{"content":[]}'),
        ('"finish_reason":null', '"finish_reason":"stop"'),
        ('"token_ids":null', '"token_ids":[1]'),
        ('"index":0', '"index":1'),
        ('"model":"m"', '"usage":{"total_tokens":1}'),
        ('"model":"m"', '"model": "m"'),
        ('"choices":[', '"choices":[{},'),
        ("data: {", "event: x\ndata: {"),
        ("data: {", "data: [DONE]"),
    ],
)
def test_an_event_with_more_than_a_text_has_none(there: str, instead: str) -> None:
    assert there in CHAT
    assert EventForm.of(event(CHAT.replace(there, instead), '"x"'), "x") is None


class FakeResponse:
    """Keeps what it is sent, up to `room` parts."""

    def __init__(self, room: int = 99) -> None:
        self.last_part = b""
        self.parts: list[bytes] = []
        self._room = room

    async def put(self, part: bytes) -> bool:
        if len(self.parts) == self._room:
            return False
        self.parts.append(part)
        return True


def output(text: str, *token_ids: int, finish_reason: str | None = None) -> Any:
    completion = SimpleNamespace(
        text=text, token_ids=list(token_ids), finish_reason=finish_reason, logprobs=None
    )
    return SimpleNamespace(outputs=[completion], finished=finish_reason is not None)


async def outputs(*given: Any) -> AsyncGenerator[Any]:
    for one in given:
        yield one


async def seen(response: Any, form: str, *given: Any) -> list[tuple[str, list[int]]]:
    """What an application gets that writes an event for each of its outputs."""
    shortcut = Shortcut()
    shortcut.attach(response)
    got = []
    async for one in shortcut.rest(outputs(*given)):
        (completion,) = one.outputs
        got.append((completion.text, completion.token_ids))
        response.last_part = event(form, f'"{completion.text}"')
    return got


async def test_what_brings_text_alone_goes_past_the_application() -> None:
    response = FakeResponse()
    given = [
        output("a", 1), output("b", 2), output("", 3), output("c", 4, 5),
        output("d", 6, finish_reason="stop"),
    ]  # fmt: skip
    got = await seen(response, CHAT, *given)
    assert got == [("a", [1]), ("", [2, 3]), ("d", [4, 5, 6])]
    assert response.parts == [event(CHAT, '"b"'), event(CHAT, '"c"')]


async def test_the_form_is_that_of_the_first_text() -> None:
    response = FakeResponse()
    got = await seen(response, CHAT, output("", 1), output("a", 2), output("b", 3))
    assert got == [("", [1]), ("a", [2])]
    assert response.parts == [event(CHAT, '"b"')]


async def test_of_another_form_all_goes_through_the_application() -> None:
    response = FakeResponse()
    form = CHAT.replace('"logprobs":null', '"logprobs":{"content":[]}')
    got = await seen(response, form, *(output(text, 1) for text in "abc"))
    assert [text for text, _ in got] == ["a", "b", "c"]
    assert not response.parts


async def test_without_a_reader_it_waits_for_its_end() -> None:
    response = FakeResponse(room=1)
    reading = asyncio.create_task(seen(response, CHAT, *(output(text, 1) for text in "abcd")))
    done, _ = await asyncio.wait({reading}, timeout=0.05)
    assert not done
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
