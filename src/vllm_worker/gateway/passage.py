"""A stream's way past LiteLLM, which works for a millisecond on each event.

LiteLLM decides who answers and is told what was answered; the client gets the events as the
provider sends them. The front makes a passage for each request, the hooks open it for streams whose
events need no translation, and upstream.py sends a stream through it.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.types import Message, Receive, Send

TOKEN_HEADER = "x-gateway-passage"
"""Which passage a request has; one that a client sends is taken away."""

EVENT_END = b"\n\n"
_DONE = b"data: [DONE]\n\n"
_MODEL = re.compile(rb'"model":\s*"[^"]*"')
_NO_CHOICES = re.compile(rb'"choices":\s*\[\]')
"""None of these is ever found inside a text of JSON, where quotes are escaped."""


@dataclass
class Passage:
    """From a provider to the client whose ASGI connection are `receive` and `send`."""

    receive: Receive
    send: Send
    is_open: bool = False
    has_begun: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client has left."""
    _heard: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    _last: bytes = b""
    _model: bytes = b""
    _shows_usage: bool = False
    _headers: dict[str, str] = field(default_factory=dict)
    _close: Callable[[], None] | None = None

    def open(self, model: str, *, shows_usage: bool, headers: Mapping[str, str]) -> None:
        """Let a stream through, under the name of the model that the client asked for."""
        self.is_open = True
        self._model = b'"model":' + json.dumps(model).encode()
        self._shows_usage = shows_usage
        self._headers = dict(headers)

    async def hear(self) -> Message:
        """The client's next message, for LiteLLM."""
        return await self._heard.get()

    async def listen(self) -> None:
        """Hear the client until it leaves, and then end the request: LiteLLM would do so seconds
        later, or not at all.
        """
        while not self.left.is_set():
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                if self._close:
                    self._close()
            self._heard.put_nowait(message)

    async def gone(self) -> None:
        """Wait until the client has left."""
        await self.left.wait()

    async def answer(self, message: Message) -> None:
        """LiteLLM's message: of a stream that is passed on only its end goes to the client.

        The last event waits for it: who has seen that may close the connection, and LiteLLM would
        neither count nor cache what it had not finished.
        """
        if not self.has_begun:
            await self.send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            await self.send({"type": "http.response.body", "body": self._last})

    async def through(
        self, parts: AsyncIterator[bytes], provider: str, close: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        """The same stream in whole events, each of which the client has had.

        `close` ends it at the provider, when the client leaves.
        """
        self._close = close
        await self._begin(provider)
        rest = b""
        try:
            async for part in parts:
                events, end, rest = (rest + part).rpartition(EVENT_END)
                if end:
                    await self._pass_on(events + end)
                    yield events + end
        except aiohttp.ClientError as error:
            await self._pass_on(_as_event(f"{provider} broke off: {type(error).__name__}"))
            raise
        if rest:
            await self._pass_on(rest)
            yield rest + EVENT_END

    async def _begin(self, provider: str) -> None:
        self.has_begun = True
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        headers |= {"x-provider": provider} | self._headers
        raw = [(name.encode(), text.encode()) for name, text in headers.items()]
        await self.send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _pass_on(self, events: bytes) -> None:
        if events.endswith(_DONE):
            events, self._last = events.removesuffix(_DONE), _DONE
        if not self._shows_usage and b'"usage"' in events:
            found = (event + EVENT_END for event in events.split(EVENT_END) if event)
            events = b"".join(event for event in found if not _NO_CHOICES.search(event))
        if events:
            body = _MODEL.sub(lambda _: self._model, events)
            await self.send({"type": "http.response.body", "body": body, "more_body": True})


class Passages:
    """Those of the requests that are under way, by their tokens."""

    def __init__(self) -> None:
        self._made: dict[str, Passage] = {}

    @asynccontextmanager
    async def made(self, receive: Receive, send: Send) -> AsyncIterator[tuple[str, Passage]]:
        """A passage for one request, and its token."""
        token, passage = secrets.token_hex(16), Passage(receive, send)
        self._made[token] = passage
        listening = asyncio.create_task(passage.listen())
        try:
            yield token, passage
        finally:
            listening.cancel()
            del self._made[token]

    def get(self, token: str | None) -> Passage | None:
        return self._made.get(token or "")


def _as_event(message: str) -> bytes:
    error: dict[str, Any] = {
        "message": message,
        "type": "UpstreamError",
        "param": None,
        "code": 502,
    }
    return b"data: " + json.dumps({"error": error}).encode() + EVENT_END
