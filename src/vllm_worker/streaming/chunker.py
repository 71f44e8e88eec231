"""The pieces of a stream: a growing schedule, and the batcher that applies it.

Every piece costs one HTTP request to RunPod. Small first pieces make a stream start at once, large
later ones keep the number of requests low, and a piece leaves early when its oldest token has
waited too long.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from vllm_worker.streaming.flow_control import Pace


class Item(Protocol):
    """What a stream is made of: some text that stands for a number of tokens."""

    @property
    def tokens(self) -> int: ...

    def split(self, tokens: int) -> tuple[Self, Self | None]:
        """The first `tokens` tokens and the rest, or all of an item that cannot be split."""
        ...


T = TypeVar("T", bound=Item)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Sizes of pieces in tokens: the first, the largest, and the factor between neighbours."""

    minimum: int
    maximum: int
    growth: float

    def sizes(self) -> Iterator[int]:
        """1, 3, 9, 27, 50, 50, … for a minimum of 1, a maximum of 50 and a growth of 3."""
        size = float(min(self.minimum, self.maximum))
        while True:
            yield int(size)
            size = min(size * self.growth, self.maximum)


class Batcher(Generic[T]):
    """Gathers a stream into pieces while earlier pieces are being sent.

    A task of its own reads the stream, so it goes on while the consumer is busy with a piece, and
    `cancel` ends it at once even when the consumer is never resumed.
    """

    def __init__(self, source: AsyncGenerator[T], schedule: Schedule, pace: Pace) -> None:
        """An engine that is attached to `pace` is told what is wanted of the source."""
        self._source = source
        self._sizes = schedule.sizes()
        self._pace = pace
        self._waiting: deque[tuple[float, T]] = deque()  # arrival time, item
        self._tokens = 0
        self._wanted = 0
        self._due = False
        self._ended = False
        self._cancelled = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._gather())

    def cancel(self) -> None:
        """Stops reading and closes the stream. A second call is harmless."""
        if not self._cancelled:  # a second one would hit the stream in the middle of its closing
            self._cancelled = True
            self._task.cancel()

    async def pieces(self) -> AsyncIterator[list[T]]:
        """The stream in pieces. An error of the stream is raised after what came before it."""
        for size in self._sizes:
            await self._filled(size)
            self._pace.pause()
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
                # The engine lets go of fewer tokens than are wanted only when they are due.
                self._due |= self._pace.attached and item.tokens > 0
                if self._due or self._tokens >= self._wanted or len(self._waiting) == 1:
                    self._wake.set()
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

    async def _filled(self, size: int) -> None:
        """Returns when a piece of this size is there, is due, or nothing more will come.

        The reader wakes this up for the first waiting item (whose time then counts) and for a full
        piece, not for each token in between.
        """
        self._wanted, self._due = size, False
        self._pace.ask(size - self._tokens)
        while self._tokens < size and not self._due and not self._ended:
            self._wake.clear()
            try:
                async with asyncio.timeout(self._time_left()):
                    await self._wake.wait()
            except TimeoutError:
                return

    def _time_left(self) -> float | None:
        if not self._waiting or not self._pace.max_delay:
            return None
        return self._waiting[0][0] + self._pace.max_delay - time.monotonic()

    def _take(self, size: int) -> list[T]:
        piece: list[T] = []
        room = size
        while self._waiting and (room > 0 or self._waiting[0][1].tokens == 0):
            arrived, item = self._waiting.popleft()
            if item.tokens > room:
                item, rest = item.split(room)
                if rest:
                    self._waiting.appendleft((arrived, rest))
            piece.append(item)
            room -= item.tokens
        self._tokens -= size - room
        return piece


async def in_pieces(
    source: AsyncGenerator[T], schedule: Schedule, pace: Pace
) -> AsyncIterator[list[T]]:
    """The stream `source` in pieces; it is closed when the task that reads the pieces ends.

    The task, not only the generator: when RunPod cancels a job while the SDK is posting a piece,
    the SDK drops its generators without closing them, but its task for the job does end.
    """
    batcher = Batcher(source, schedule, pace)
    reader = asyncio.current_task()
    assert reader, "pieces are read inside a task"
    reader.add_done_callback(lambda _: batcher.cancel())
    try:
        async for piece in batcher.pieces():
            yield piece
    finally:
        batcher.cancel()
