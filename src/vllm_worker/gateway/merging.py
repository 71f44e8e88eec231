"""Fewer, larger events for LiteLLM, which works for a millisecond on each.

Events of a stream pass at once as long as there are few streams. The more there are, the longer is
the least time between two of a stream; what comes sooner is merged.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

EVENT_END = b"\n\n"
_DATA = b"data: "
_PER_STREAM_S = 0.004
"""With 64 streams there are four events a second of each, and 250 of all of them."""


class Merger:
    """Merges the events of all streams that are under way."""

    def __init__(self) -> None:
        self._streams = 0

    @property
    def interval_s(self) -> float:
        """The least time between two events of a stream; one that is alone has none."""
        return _PER_STREAM_S * self._streams if self._streams > 1 else 0.0

    async def merged(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same stream in fewer events. `parts` may be cut anywhere."""
        self._streams += 1
        events, waiting, due = _Events(parts), _Waiting(), 0.0
        try:
            while not events.ended:
                left = max(due - time.monotonic(), 0) if waiting else None
                for event in await events.within(left):
                    if full := waiting.add(event):
                        yield full
                if waiting and (events.ended or time.monotonic() >= due):
                    due = time.monotonic() + self.interval_s
                    yield waiting.take()
            if events.error:
                raise events.error
        finally:
            self._streams -= 1
            events.close()


async def told_seldom(parts: AsyncIterator[bytes], interval_s: float) -> AsyncIterator[bytes]:
    """The same stream for a reader who need not have it at once: events that are `interval_s`
    apart, if nothing but text comes. `parts` are whole events.
    """
    waiting, due = _Waiting(), 0.0
    try:
        async for part in parts:
            for event in part.split(EVENT_END)[:-1]:
                if full := waiting.add(event + EVENT_END):
                    yield full
            if waiting and time.monotonic() >= due:
                due = time.monotonic() + interval_s
                yield waiting.take()
    except aiohttp.ClientError:
        if waiting:
            yield waiting.take()
        raise
    if waiting:
        yield waiting.take()


class _Events:
    """Whole events of a stream, as they come. `error` is what has ended it, if not its end."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""
        self._reading: asyncio.Future[bytes | None] | None = None
        self.ended = False
        self.error: Exception | None = None

    async def within(self, seconds: float | None) -> list[bytes]:
        """Those that come next; none when nothing comes in time."""
        self._reading = self._reading or asyncio.ensure_future(_next(self._parts))
        await asyncio.wait({self._reading}, timeout=seconds)
        if not self._reading.done():
            return []
        reading, self._reading = self._reading, None
        self.error = error if isinstance(error := reading.exception(), Exception) else None
        part = None if self.error else reading.result()
        if part is None:
            self.ended = True
            return [self._rest] if self._rest else []
        *events, self._rest = (self._rest + part).split(EVENT_END)
        return [event + EVENT_END for event in events]

    def close(self) -> None:
        if self._reading:
            self._reading.cancel()


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    return await anext(parts, None)


@dataclass
class _Waiting:
    """An event that has not been sent, and the text that has been merged into it."""

    _event: bytes = b""
    _chunk: dict[str, Any] | None = None
    _more: str = ""

    def __bool__(self) -> bool:
        return bool(self._event)

    def add(self, event: bytes) -> bytes:
        """Merge an event, or give what was there before it."""
        chunk = _parse(event)
        if self._chunk and chunk and _is_like(self._chunk, chunk):
            self._more += _text_of(chunk)
            return b""
        before = self.take() if self else b""
        self._event, self._chunk = event, chunk
        return before

    def take(self) -> bytes:
        event = self._event
        if self._chunk and self._more:
            holder, key = _place(self._chunk)
            holder[key] += self._more
            event = _DATA + json.dumps(self._chunk, ensure_ascii=False).encode() + EVENT_END
        self._event, self._chunk, self._more = b"", None, ""
        return event


def _parse(event: bytes) -> dict[str, Any] | None:
    """A chunk with text of one choice and nothing else of its own."""
    try:
        chunk = json.loads(event.removeprefix(_DATA))
        (choice,) = chunk["choices"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(choice, dict):
        return None
    if choice.get("finish_reason") or choice.get("logprobs") or chunk.get("usage"):
        return None
    if "delta" in choice:
        delta = choice["delta"]
        return chunk if isinstance(delta, dict) and _only_content(delta) else None
    return chunk if isinstance(choice.get("text"), str) else None


def _only_content(delta: dict[str, Any]) -> bool:
    return isinstance(delta.get("content"), str) and not any(
        value for name, value in delta.items() if name != "content"
    )


def _is_like(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether they differ in nothing but their text."""
    (mine,), (theirs,) = one["choices"], other["choices"]
    same_choice = mine.get("index") == theirs.get("index") and mine.keys() == theirs.keys()
    return bool(same_choice and one.get("id") == other.get("id"))


def _place(chunk: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The object that holds the text, and its key."""
    choice = chunk["choices"][0]
    return (choice["delta"], "content") if "delta" in choice else (choice, "text")


def _text_of(chunk: dict[str, Any]) -> str:
    holder, key = _place(chunk)
    return str(holder[key])
