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
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.types import Message, Receive, Send

from vllm_worker.gateway.merging import EVENT_END

TOKEN_HEADER = "x-gateway-passage"
"""Which passage a request has; one that a client sends is taken away."""

DONE = b"data: [DONE]\n\n"
_MODEL = re.compile(rb'"model":\s*"(?:[^"\\]|\\.)*"')
_NO_CHOICES = re.compile(rb'"choices":\s*\[\]')
"""None of these is ever found inside a text of JSON, where quotes are escaped."""
_PASSED_ON = ("/v1/chat/completions", "/v1/completions")
"""Routes whose events need no translation."""
_END_S = 1.0
"""How long a connection to a provider may stay open after the last event."""


@dataclass
class Passage:
    """From a provider to the client whose ASGI connection are `receive` and `send`.

    `path` and `body` are what the client has asked; without a body it was no JSON.
    """

    receive: Receive
    send: Send
    path: str = ""
    body: dict[str, Any] | None = None
    is_answered: bool = False
    """Whether the client has the beginning of an answer, from here or from LiteLLM."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client has left."""
    _is_open: bool = False
    _model: bytes = b""
    _shows_usage: bool = False
    _passes: bool = False
    _is_whole: bool = False
    _headers: dict[str, str] = field(default_factory=dict)
    _heard: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    _close: Callable[[], None] | None = None

    def open(self, headers: Mapping[str, str]) -> None:
        """Let a stream through that has been asked for, with more headers."""
        body = self.body or {}
        self._is_open = body.get("stream") is True and self.path in _PASSED_ON
        self._model = b'"model":' + json.dumps(body.get("model")).encode()
        options = body.get("stream_options")
        self._shows_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._headers = dict(headers)

    def lets_through(self, path: str) -> bool:
        """Whether a stream of a provider's path goes to the client as it is."""
        return self._is_open and path == self.path

    async def hear(self) -> Message:
        """The client's next message, for LiteLLM; of one that has left it is the same again."""
        if self.left.is_set() and self._heard.empty() and not self._passes:
            return {"type": "http.disconnect"}
        return await self._heard.get()

    async def listen(self, first: Message | None = None) -> None:
        """Hear the client until it leaves, and then end the request: LiteLLM would do so seconds
        later, or not at all.
        """
        if first:
            self._heard.put_nowait(first)
        while not self.left.is_set():
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                if self._close:
                    self._close()
            if not self._passes:  # LiteLLM counts what has passed when the stream ends
                self._heard.put_nowait(message)

    async def answer(self, message: Message) -> None:
        """LiteLLM's message: of a stream that is passed on only its end goes to the client.

        The last event waits for it: who has seen that may close the connection, and LiteLLM would
        neither count nor cache what it had not finished.
        """
        if not self._passes:
            self.is_answered = True
            await self.send(message)
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            last = DONE if self._is_whole else _as_event("The gateway has ended the stream.")
            await self.send({"type": "http.response.body", "body": last})

    async def through(
        self, parts: AsyncIterator[bytes], provider: str, close: Callable[[], None]
    ) -> AsyncIterator[bytes]:
        """The same stream in whole events, each of which the client has had.

        `close` ends it at the provider, when the client leaves.
        """
        self._close = close
        await self._begin(provider)
        try:
            async for events in _whole_events(parts):
                await self._pass_on(events)
                yield events
        except aiohttp.ClientError as error:
            if not self.left.is_set():
                await self._pass_on(_as_event(f"{provider} broke off: {type(error).__name__}"))
                raise
        self._is_whole = True

    async def _begin(self, provider: str) -> None:
        self._passes = self.is_answered = True
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        headers |= {"access-control-allow-origin": "*", "x-provider": provider} | self._headers
        raw = [(name.encode(), text.encode()) for name, text in headers.items()]
        await self.send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _pass_on(self, events: bytes) -> None:
        events = events.removesuffix(DONE)
        if not self._shows_usage and b'"usage"' in events:
            found = (event + EVENT_END for event in events.split(EVENT_END) if event)
            events = b"".join(event for event in found if not _NO_CHOICES.search(event))
        if events:
            body = _MODEL.sub(lambda _: self._model, events)
            await self.send({"type": "http.response.body", "body": body, "more_body": True})


async def _whole_events(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, cut at ends of events; what the last one lacks of its end is added."""
    rest = b""
    async for part in parts:
        events, end, rest = (rest + part).rpartition(EVENT_END)
        if (events + end).endswith(DONE):
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    async for _ in parts:  # to its end, so that the connection can be used again
                        pass
            yield events + end
            return
        if end:
            yield events + end
    if rest:
        yield rest.rstrip(b"\n") + EVENT_END


class Passages:
    """Those of the requests that are under way, by their tokens."""

    def __init__(self) -> None:
        self._made: dict[str, Passage] = {}

    @asynccontextmanager
    async def made(self, passage: Passage, first: Message | None = None) -> AsyncIterator[str]:
        """The token of a passage, for the time of its request; LiteLLM hears `first` first."""
        token = secrets.token_hex(16)
        self._made[token] = passage
        listening = asyncio.create_task(passage.listen(first))
        try:
            yield token
        finally:
            listening.cancel()
            del self._made[token]

    def get(self, token: str | None) -> Passage | None:
        return self._made.get(token or "")


def upstream_error(message: str, code: int) -> dict[str, Any]:
    """OpenAI's error body."""
    error = {"message": message, "type": "UpstreamError", "param": None, "code": code}
    return {"error": error}


def _as_event(message: str) -> bytes:
    return b"data: " + json.dumps(upstream_error(message, 502)).encode() + EVENT_END
