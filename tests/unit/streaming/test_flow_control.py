"""Flow control between a reader and an engine, and the chunks that come of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from vllm_worker.engine.protocol import Delta
from vllm_worker.streaming.chunker import in_chunks
from vllm_worker.streaming.flow_control import FlowControl
from vllm_worker.streaming.schedule import Schedule

GROWING = Schedule(minimum=1, maximum=50, growth=3)


class Stream:
    """An engine's part in a stream: makes a token when it is told to, and holds it."""

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow
        self._held = 0
        self._out: asyncio.Queue[Delta | None] = asyncio.Queue()
        self.outputs = 0
        flow.connect(self._emit)

    def make_token(self, at_once: bool = False) -> None:
        self._held += 1
        if not at_once and self._flow.buffer(1):
            self._emit()

    def flush(self) -> None:
        self._emit()

    async def token(self) -> None:
        self.make_token()
        await settle()

    async def end(self) -> None:
        self._emit()
        self._out.put_nowait(None)
        await settle()

    def _emit(self) -> bool:
        if not (tokens := self._held):
            return False
        texts = ["x"] * tokens
        self.outputs += 1
        self._out.put_nowait(Delta(0, texts, tokens, input_tokens=1))
        self._held = 0
        self._flow.flushed(tokens, texts)
        return True

    async def deltas(self) -> AsyncGenerator[Delta]:
        while delta := await self._out.get():
            yield delta


class Reader:
    """Reads chunks and posts them, each until `post` is called."""

    def __init__(self, stream: Stream, flow: FlowControl) -> None:
        self.sizes: list[int] = []
        self.posted = asyncio.Event()
        self.task = asyncio.create_task(self._read(stream, flow))

    async def _read(self, stream: Stream, flow: FlowControl) -> None:
        async for chunk in in_chunks(stream.deltas(), GROWING, flow):
            self.sizes.append(sum(delta.tokens for delta in chunk))
            await self.posted.wait()
            self.posted.clear()

    async def post(self) -> None:
        self.posted.set()
        await settle()


async def settle() -> None:
    """Lets everything happen that can happen now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def started(max_delay: float) -> tuple[Stream, Reader]:
    """A stream and its reader, who has asked for the first token."""
    flow = FlowControl(max_delay)
    stream = Stream(flow)
    reader = Reader(stream, flow)
    await settle()
    return stream, reader


async def read_all(posts_after: Callable[[int], bool], tokens: int) -> tuple[Reader, Stream]:
    """A stream read to its end, with a post done after some of the tokens."""
    stream, reader = await started(0)
    for number in range(tokens):
        await stream.token()
        if posts_after(number):
            await reader.post()
    await stream.end()
    while not reader.task.done():
        await reader.post()
    return reader, stream


async def test_chunks_leave_the_engine_whole() -> None:
    reader, stream = await read_all(lambda _: True, tokens=160)
    assert reader.sizes == [1, 3, 9, 27, 50, 50, 20]
    assert stream.outputs == len(reader.sizes)


async def test_behind_a_slow_platform_chunks_grow_to_the_maximum_and_do_not_queue_up() -> None:
    reader, _ = await read_all(lambda number: number % 40 == 39, tokens=1000)
    assert sum(reader.sizes) == 1000
    assert reader.sizes[:5] == [1, 3, 9, 27, 50]
    assert reader.sizes[5:-1] == [50] * len(reader.sizes[5:-1])
    # A post takes as long as 40 tokens: no more than these and the ramp's wait at the end.
    assert len(reader.sizes) <= 1000 // 40 + 1


async def test_while_a_chunk_is_posted_nothing_leaves_the_engine() -> None:
    stream, reader = await started(0.01)
    await stream.token()
    for _ in range(2):
        await stream.token()
    await asyncio.sleep(0.03)
    assert (stream.outputs, reader.sizes) == (1, [1])
    await reader.post()  # what it held is overdue by now
    assert (stream.outputs, reader.sizes) == (2, [1, 2])
    reader.task.cancel()


async def test_a_token_is_held_no_longer_than_the_delay() -> None:
    stream, reader = await started(0.2)
    await stream.token()
    await reader.post()
    await stream.token()
    assert reader.sizes == [1]  # three are wanted
    await asyncio.sleep(0.3)
    assert reader.sizes == [1, 1]
    reader.task.cancel()


async def test_without_a_delay_tokens_are_held_until_they_are_enough() -> None:
    stream, reader = await started(0)
    await stream.token()
    await reader.post()
    await stream.token()
    await asyncio.sleep(0.02)
    assert reader.sizes == [1]
    reader.task.cancel()


async def test_tokens_that_come_many_at_once_are_cut_to_the_schedule() -> None:
    """An engine that makes several tokens a step may flush more than was requested."""
    flow = FlowControl(0)
    stream = Stream(flow)
    reader = Reader(stream, flow)
    await settle()
    for _ in range(3):
        for _ in range(50):
            stream.make_token(at_once=True)
        stream.flush()
        for _ in range(6):
            await reader.post()
    assert not reader.task.done()
    await stream.end()
    while not reader.task.done():
        await reader.post()
    assert reader.sizes == [1, 3, 9, 27, 50, 50, 10]


async def test_a_thousand_small_streams_get_on_together() -> None:
    streams, readers = [], []
    for _ in range(1000):
        flow = FlowControl(0)
        streams.append(Stream(flow))
        readers.append(Reader(streams[-1], flow))
    await settle()
    for number in range(13):
        for stream in streams:
            stream.make_token()
        await settle()
        chunks = {len(reader.sizes) for reader in readers}
        assert len(chunks) == 1, f"after {number + 1} tokens"
        for reader in readers:
            reader.posted.set()
        await settle()
    assert chunks == {3}
    for reader in readers:
        reader.task.cancel()
