"""A job as the endpoint keeps it: its state, its chunks, and waiting for either to change."""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Any, Protocol


class Status(StrEnum):
    """RunPod's job states; the last four are final."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


_FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT})


class Timer(Protocol):
    """The part of `asyncio.TimerHandle` that a test's clock imitates."""

    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """The client's terms for its job. Times are in seconds.

    At the end of its ttl, which begins at submission, a job is forgotten in whatever state; one
    that has ended is kept for `retention_s`, if its ttl is not over before.
    """

    execution_timeout_s: float
    ttl_s: float
    retention_s: float
    webhook: str | None = None


@dataclass(eq=False, slots=True)
class Job:
    """One job. Times are the queue's clock, in seconds.

    `chunks` are the outputs the worker has posted and no client has been given yet; `output` is
    what the worker reported at the end (a list of all chunks, when it aggregates).
    """

    id: str
    input: Any  # whether it makes sense is for the worker to say; dropped when it is used up
    policy: JobPolicy
    created: float
    batch_id: str | None = None
    status: Status = Status.IN_QUEUE
    worker_id: str | None = None
    started: float | None = None
    finished: float | None = None
    output: Any = None
    error: str | None = None
    chunks: list[Any] = field(default_factory=list)
    begun: bool = False  # its worker has been heard of it
    timer: Timer | None = None
    shown: Any = None  # the beginning of an input that is used up, for those who look
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def final(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.status in _FINAL

    def take_chunks(self) -> list[Any]:
        """The chunks not yet given to a client; they are given once."""
        chunks, self.chunks = self.chunks, []
        return chunks

    def notify(self) -> None:
        """Wake everyone who waits for a change of this job."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for_update(self) -> None:
        """Wait until there is a chunk to take or the job is final."""
        while not (self.chunks or self.final):
            await self._changed.wait()

    async def end(self) -> None:
        """Wait until the job is final."""
        while not self.final:
            await self._changed.wait()

    def view(self) -> dict[str, Any]:
        """The job as /status, /runsync and the webhook show it; times in milliseconds."""
        view: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.started is not None:
            view["delayTime"] = _milliseconds(self.created, self.started)
            view["workerId"] = self.worker_id
            if self.finished is not None:
                view["executionTime"] = _milliseconds(self.started, self.finished)
        if self.status is Status.COMPLETED or self.output is not None:
            view["output"] = self.output
        if self.error is not None:
            view["error"] = self.error
        return view


def excerpt(value: Any, room: int) -> Any:
    """The beginning of a JSON value, of about `room` characters; "…" stands for the rest.

    It looks at no more of the value than it returns.
    """
    return _Excerpt(room).of(value)


_DEEPEST = 20


class _Excerpt:
    """Takes from a value until the room is used up."""

    def __init__(self, room: int) -> None:
        self._room = room

    def of(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict | list) and depth == _DEEPEST:
            return "…"
        if isinstance(value, dict):
            return self._object(value, depth)
        if isinstance(value, list):
            return self._list(value, depth)
        self._room -= 8
        # JSON has no such number, and no browser reads what Python writes for it.
        return str(value) if isinstance(value, float) and not isfinite(value) else value

    def _text(self, text: str) -> str:
        shown = text[: max(0, self._room)]
        self._room -= len(shown) + 4  # with quotes, and a colon or a comma
        return shown if len(shown) == len(text) else f"{shown}…"

    def _object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, inside in value.items():
            if self._room <= 0:
                return shown | {"…": "…"}
            name = self._text(name)  # before the value, which may take all of the room
            shown[name] = self.of(inside, depth + 1)
        return shown

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        shown: list[Any] = []
        for inside in value:
            if self._room <= 0:
                return [*shown, "…"]
            shown.append(self.of(inside, depth + 1))
        return shown


def _milliseconds(start: float, end: float) -> int:
    return round((end - start) * 1000)
