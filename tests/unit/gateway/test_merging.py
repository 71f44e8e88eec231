import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from vllm_worker.gateway.merging import Merger, told_seldom

DONE = b"data: [DONE]\n\n"


def event(text: str, **choice: Any) -> bytes:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None} | choice]
    return f"data: {json.dumps({'id': 'a', 'choices': choices})}\n\n".encode()


def text(events: list[bytes]) -> str:
    chunks = [json.loads(e.removeprefix(b"data: ")) for e in events if e != DONE]
    choices = [chunk["choices"][0] for chunk in chunks]
    return "".join(c["delta"].get("content") or "" if "delta" in c else c["text"] for c in choices)


async def given(parts: list[bytes], between_s: float = 0.001) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(between_s)


async def merged(parts: list[bytes], beside: int = 0) -> list[bytes]:
    """What a stream becomes while so many others are under way."""
    merger = Merger()
    others = [asyncio.create_task(drain(merger)) for _ in range(beside)]
    await asyncio.sleep(0)
    try:
        return [part async for part in merger.merged(given(parts))]
    finally:
        for other in others:
            other.cancel()


async def drain(merger: Merger) -> None:
    async for _ in merger.merged(given([b": x\n\n", DONE], 60)):
        pass


async def test_who_is_told_seldom_gets_all_of_it() -> None:
    parts = given([*WORDS, event("", finish_reason="stop"), DONE])
    found = [part async for part in told_seldom(parts, 60)]
    assert len(found) == 4
    assert found[0] == WORDS[0]
    assert text(found) == text(WORDS)


async def test_who_is_told_seldom_gets_what_came_before_a_break() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        for word in WORDS:
            yield word
        raise aiohttp.ClientPayloadError

    seen = []
    with pytest.raises(aiohttp.ClientPayloadError):
        async for part in told_seldom(breaking(), 60):
            seen.append(part)
    assert text(seen) == text(WORDS)


WORDS = [event(f"{number} ") for number in range(50)]


async def test_a_stream_that_is_alone_comes_as_it_is() -> None:
    assert await merged([*WORDS, DONE]) == [*WORDS, DONE]


async def test_of_many_streams_events_are_merged_and_no_text_is_lost() -> None:
    found = await merged([*WORDS, event("", finish_reason="stop"), DONE], beside=20)
    assert len(found) < 20
    assert text(found) == text(WORDS)
    assert found[0] == WORDS[0]
    assert found[-1] == DONE
    assert json.loads(found[-2].removeprefix(b"data: "))["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "other",
    [
        event("x", index=1),
        event("x", logprobs={"content": []} | {"a": 1}),
        event("", delta={"tool_calls": [{"index": 0}]}),
        b'data: {"error": {"message": "x"}}\n\n',
        b": a comment\n\n",
        b'data: {"id": "a", "choices": [], "usage": {"total_tokens": 3}}\n\n',
    ],
)
async def test_what_is_more_than_text_comes_as_it_is(other: bytes) -> None:
    found = await merged([*WORDS[:9], other, *WORDS[9:], DONE], beside=20)
    assert other in found


async def test_parts_may_be_cut_anywhere() -> None:
    whole = b"".join(WORDS) + DONE
    cut = [whole[start : start + 7] for start in range(0, len(whole), 7)]
    for beside in (0, 20):
        assert text(await merged(cut, beside)) == text(WORDS)


async def test_text_of_completions_is_merged_too() -> None:
    events = [
        f'data: {{"id": "a", "choices": [{{"index": 0, "text": "{n} "}}]}}\n\n'.encode()
        for n in range(50)
    ]
    found = await merged([*events, DONE], beside=20)
    assert len(found) < 20
    assert text(found) == text(events)


async def test_a_stream_that_breaks_says_so() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield WORDS[0]
        raise OSError("gone")

    merger, seen = Merger(), []
    with pytest.raises(OSError, match="gone"):
        async for part in merger.merged(breaking()):
            seen.append(part)
    assert seen == [WORDS[0]]
    assert merger.interval_s == 0
