"""Gathers a stream into chunks of the sizes that a schedule wants."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, Protocol, Self, TypeVar

from vllm_worker.streaming.flow_control import FlowControl
from vllm_worker.streaming.schedule import Schedule


class Item(Protocol):
    """A part of a stream: text that stands for a number of tokens."""

    @property
    def tokens(self) -> int: ...

    def split(self, tokens: int) -> tuple[Self, Self | None]:
        """The first `tokens` tokens and the rest, or all of an item that cannot be split."""
        ...


T = TypeVar("T", bound=Item)


class Chunker(Generic[T]):
    """Gathers a stream into chunks while earlier chunks are being sent.

    A task of its own reads the stream, so it goes on while the consumer is busy with a chunk, and
    `cancel` ends it at once even when the consumer is never resumed.
    """

    def __init__(self, source: AsyncGenerator[T], schedule: Schedule, flow: FlowControl) -> None:
        self._source = source
        self._sizes = schedule.sizes()
        self._flow = flow
        self._waiting: deque[tuple[float, T]] = deque()  # arrival time, item
        self._tokens = 0
        self._due = False
        self._ended = False
        self._cancelled = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        flow.on_due(self._send)
        self._task = asyncio.create_task(self._gather())

    def cancel(self) -> None:
        """Stop reading and close the stream. A second call is harmless."""
        if not self._cancelled:  # a second one would hit the stream in the middle of its closing
            self._cancelled = True
            self._task.cancel()

    async def chunks(self) -> AsyncIterator[list[T]]:
        """The stream in chunks. An error of the stream is raised after what came before it."""
        for size in self._sizes:
            await self._filled(size)
            self._flow.pause()
            if not self._waiting:
                break
            yield self._take(size)
        if self._error:
            raise self._error

    async def _gather(self) -> None:
        try:
            async for item in self._source:
                self._waiting.append((time.monotonic(), item))
                self._tokens += item.tokens
                if self._flow.connected and item.tokens:
                    self._send()  # the engine has flushed, so a chunk is due
                elif self._flow.buffer(item.tokens):
                    self._send()
        except Exception as error:
            self._error = error
        except asyncio.CancelledError:
            self._error = RuntimeError("the stream was cancelled from within")
            if self._cancelled:
                raise
        finally:
            self._ended = True
            self._wake.set()
            await self._source.aclose()

    def _send(self) -> None:
        self._due = True
        self._wake.set()

    async def _filled(self, size: int) -> None:
        """Wait until a chunk of this size is full or overdue, or the stream has ended."""
        self._due = False
        self._flow.request(size)
        while not (self._ended or (self._waiting and (self._due or self._tokens >= size))):
            self._wake.clear()
            await self._wake.wait()

    def _take(self, size: int) -> list[T]:
        chunk: list[T] = []
        room = size
        while self._waiting and (room > 0 or self._waiting[0][1].tokens == 0):
            arrived, item = self._waiting.popleft()
            if item.tokens > room:
                item, rest = item.split(room)
                if rest:
                    self._waiting.appendleft((arrived, rest))
            chunk.append(item)
            room -= item.tokens
        self._tokens -= size - room
        oldest = self._waiting[0][0] if self._waiting else None
        self._flow.taken(self._tokens, oldest and time.monotonic() - oldest)
        return chunk


async def in_chunks(
    source: AsyncGenerator[T], schedule: Schedule, flow: FlowControl
) -> AsyncIterator[list[T]]:
    """The stream `source` in chunks; it is closed when the task that reads the chunks ends.

    The task, not only the generator: when RunPod cancels a job while the SDK is posting a chunk,
    the SDK drops its generators without closing them, but its task for the job does end.
    """
    chunker = Chunker(source, schedule, flow)
    reader = asyncio.current_task()
    assert reader, "chunks are read inside a task"
    reader.add_done_callback(lambda _: chunker.cancel())
    try:
        async for chunk in chunker.chunks():
            yield chunk
    finally:
        chunker.cancel()
