import asyncio
import itertools
from collections.abc import AsyncGenerator

import pytest

from vllm_worker.engine.protocol import Delta
from vllm_worker.streaming.chunker import Chunker, in_chunks
from vllm_worker.streaming.flow_control import FlowControl
from vllm_worker.streaming.schedule import Schedule

GROWING = Schedule(minimum=1, maximum=50, growth=3)


def token(text: str = "x", tokens: int = 1) -> Delta:
    return Delta(0, [text], tokens, input_tokens=1)


def text_of(delta: Delta) -> str:
    return "".join(delta.texts)


async def stream(*items: Delta | float | Exception) -> AsyncGenerator[Delta]:
    """Numbers are pauses in seconds."""
    for item in items:
        if isinstance(item, Exception):
            raise item
        if isinstance(item, Delta):
            yield item
        else:
            await asyncio.sleep(item)


async def sizes(source: AsyncGenerator[Delta], schedule: Schedule, delay: float = 0) -> list[int]:
    chunks = [chunk async for chunk in in_chunks(source, schedule, FlowControl(delay))]
    return [sum(item.tokens for item in chunk) for chunk in chunks]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (GROWING, [1, 3, 9, 27, 50, 50]),
        (Schedule(2, 10, 2), [2, 4, 8, 10, 10]),
        (Schedule(4, 4, 3), [4, 4, 4]),
        (Schedule(1, 10, 1.5), [1, 1, 2, 3, 5, 7, 10]),
        (Schedule(100, 10, 3), [10, 10]),
    ],
)
def test_the_schedule_grows_to_its_maximum(schedule: Schedule, expected: list[int]) -> None:
    assert list(itertools.islice(schedule.sizes(), len(expected))) == expected


async def test_chunks_follow_the_schedule_and_the_rest_comes_last() -> None:
    assert await sizes(stream(*[token()] * 160), GROWING) == [1, 3, 9, 27, 50, 50, 20]


async def test_an_item_of_many_tokens_is_split_and_its_text_goes_with_the_first_part() -> None:
    chunks = [
        [(item.texts, item.tokens) for item in chunk]
        async for chunk in in_chunks(stream(token("hello", 6), token("!")), GROWING, FlowControl(0))
    ]
    assert chunks == [[(["hello"], 1)], [([], 3)], [([], 2), (["!"], 1)]]


async def test_items_without_tokens_join_the_chunk_before_them() -> None:
    role, done = token("role", 0), token("done", 0)
    chunks = in_chunks(
        stream(role, token("a"), token("b"), done), Schedule(1, 1, 1), FlowControl(0)
    )
    assert [[*map(text_of, chunk)] async for chunk in chunks] == [["role", "a"], ["b", "done"]]


async def test_a_chunk_leaves_early_when_its_oldest_token_has_waited() -> None:
    slow = stream(token(), token(), 0.1, token(), token())
    assert await sizes(slow, Schedule(1, 50, 50), delay=0.03) == [1, 1, 2]


async def test_without_a_delay_a_chunk_waits_for_its_size() -> None:
    slow = stream(token(), token(), 0.1, token(), token())
    assert await sizes(slow, Schedule(1, 50, 50), delay=0) == [1, 3]


async def test_tokens_gather_while_a_chunk_is_being_sent() -> None:
    seen = []
    async for chunk in in_chunks(stream(*[token()] * 13), GROWING, FlowControl(0.001)):
        seen.append(len(chunk))
        await asyncio.sleep(0.01)  # far longer than the delay: chunks are still whole
    assert seen == [1, 3, 9]


async def test_an_error_comes_after_all_that_was_there_before_it() -> None:
    chunks = in_chunks(
        stream(token("a"), token("b"), RuntimeError("broken")), GROWING, FlowControl(0)
    )
    seen: list[str] = []
    with pytest.raises(RuntimeError, match="broken"):
        async for chunk in chunks:
            seen += map(text_of, chunk)
    assert seen == ["a", "b"]


async def test_an_empty_stream_has_no_chunks() -> None:
    assert await sizes(stream(), GROWING) == []


async def test_the_stream_is_closed_when_the_reading_task_ends_without_closing_its_generator() -> (
    None
):
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Delta]:
        try:
            while True:
                yield token()
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    chunks = in_chunks(endless(), GROWING, FlowControl(0))

    async def read_one_and_be_cancelled_while_sending() -> None:
        await anext(chunks)
        await asyncio.Event().wait()

    task = asyncio.create_task(read_one_and_be_cancelled_while_sending())
    await asyncio.sleep(0.02)
    assert not closed.is_set()
    task.cancel()
    await asyncio.wait_for(closed.wait(), timeout=1)


async def test_a_second_cancel_does_not_disturb_the_closing() -> None:
    closed = asyncio.Event()

    async def slow_to_close() -> AsyncGenerator[Delta]:
        try:
            await asyncio.Event().wait()
            yield token()
        finally:
            await asyncio.sleep(0.01)
            closed.set()

    chunker = Chunker(slow_to_close(), GROWING, FlowControl(0))
    await asyncio.sleep(0)
    chunker.cancel()
    await asyncio.sleep(0)
    chunker.cancel()
    await asyncio.wait_for(closed.wait(), timeout=1)


async def test_a_stream_that_is_cancelled_from_within_is_no_whole_stream() -> None:
    async def cancelled() -> AsyncGenerator[Delta]:
        yield token()
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled from within"):
        await sizes(cancelled(), GROWING)


async def test_cancel_closes_the_stream() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Delta]:
        try:
            await asyncio.Event().wait()
            yield token()
        finally:
            closed.set()

    chunker = Chunker(endless(), GROWING, FlowControl(0))
    await asyncio.sleep(0)
    chunker.cancel()
    await asyncio.wait_for(closed.wait(), timeout=1)
