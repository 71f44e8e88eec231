"""Events of a stream that differ in their text alone, written without vLLM's application.

For each event of a chat, vLLM checks three models and makes JSON of them, which costs more than
all else that a server does for a token. So the first event with text that it writes is taken as the
form of those that follow, and the application gets only the outputs that it has to see: the first,
and each that brings more than text.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Protocol

_MARK = "\0"
"""Stands for the text, which has no such character before it is written as JSON."""


class Outlet(Protocol):
    """The response that a stream leaves by."""

    last_part: bytes

    async def put(self, part: bytes) -> bool:
        """Send a part in its turn. Returns whether there is still a reader."""
        ...


class Shortcut:
    """For one stream of one choice, which leaves by the response that is attached."""

    def __init__(self) -> None:
        self._response: Outlet | None = None

    def attach(self, response: Outlet) -> None:
        self._response = response

    async def rest(self, outputs: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
        """The outputs (vLLM's RequestOutput) without those whose event is written here.

        The application asks for an output when the events of those before have left, so all leave
        in their order. The tokens of an output that it does not see count with the next that it
        does.
        """
        form: EventForm | None = None
        seen = ""  # the text of the output that the application had last
        hopeful = True
        unseen: list[int] = []
        try:
            async for output in outputs:
                if seen and hopeful and form is None:
                    form = self._learn(seen)
                    hopeful = form is not None
                seen = _text_alone(output)
                if form and seen:
                    unseen += output.outputs[0].token_ids
                    await self._write(form.event(seen))
                    continue
                if unseen:
                    output.outputs[0].token_ids = [*unseen, *output.outputs[0].token_ids]
                    unseen = []
                yield output
        finally:
            await outputs.aclose()

    def _learn(self, text: str) -> "EventForm | None":
        return EventForm.of(self._response.last_part, text) if self._response else None

    async def _write(self, event: bytes) -> None:
        assert self._response
        if not await self._response.put(event):
            # Nobody reads any more. Whoever closes the response ends this too, and vLLM would log
            # an exception as one of its own.
            await asyncio.get_running_loop().create_future()


class EventForm:
    """An event of a stream, but for its text."""

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after

    @classmethod
    def of(cls, event: bytes, text: str) -> "EventForm | None":
        """The form of an event with this text; None where it has more than that, or another."""
        try:
            data = json.loads(event.removeprefix(b"data: "))
            (choice,) = data["choices"]
        except (ValueError, TypeError, KeyError):
            return None
        place, name = (choice["delta"], "content") if "delta" in choice else (choice, "text")
        others = [*(place.items()), *(choice.items()), ("usage", data.get("usage"))]
        if place.get(name) != text or any(
            value for key, value in others if key not in (name, "delta")
        ):
            return None
        if _event(data) != event:
            return None
        place[name] = _MARK
        before, mark, after = _event(data).partition(json.dumps(_MARK).encode())
        return cls(before, after) if mark else None

    def event(self, text: str) -> bytes:
        return self._before + json.dumps(text, ensure_ascii=False).encode() + self._after


def _event(data: Any) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


def _text_alone(output: Any) -> str:
    """The text of an output that brings nothing else; empty for any other."""
    if output.finished or len(output.outputs) != 1:
        return ""
    (completion,) = output.outputs
    plain = completion.finish_reason is None and completion.logprobs is None
    return completion.text if plain else ""
