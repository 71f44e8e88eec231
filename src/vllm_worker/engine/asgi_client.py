"""One request to an ASGI application in this process, with no socket in between."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

_GRACE_S = 5.0
"""Seconds for an application to notice that its client is gone."""


class Response:
    """An answer whose body is still coming.

    Attributes: `status`, `headers` (names in lower case). Closing it tells the application that
    the client is gone, so it must be closed whatever happens to the reader.
    """

    def __init__(self, app: Any, scope: dict[str, Any], body: bytes) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.translate: Callable[[Exception], Exception] = lambda error: error
        """Translate an exception that the application raises in mid-answer."""
        self._body = body
        self._body_sent = False
        self._complete = False
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._sink: Callable[[bytes], Awaitable[None]] | None = None
        self._sink_error: Exception | None = None
        self.last_part = b""
        self._started = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._task = asyncio.create_task(app(scope, self._receive, self._send))
        self._task.add_done_callback(self._finished)

    async def started(self) -> None:
        """Wait for status and headers. Raises whatever the application raised."""
        await self._started.wait()
        if not self.status:
            self._raise_failure()

    async def parts(self) -> AsyncGenerator[bytes]:
        """The body as the application sends it. Raises whatever the application raised."""
        while (part := await self._parts.get()) is not None:
            yield part
        self._raise_failure()

    async def send_to(self, sink: Callable[[bytes], Awaitable[None]]) -> None:
        """Give `sink` each part of the body; return at the end.

        The application waits for it, so that no part takes the way through another task. Raises
        what `sink` raised, or whatever the application raised.
        """
        while not self._parts.empty():
            if (part := self._parts.get_nowait()) is None:
                break
            await sink(part)
        else:
            self._sink = sink
            await self._parts.get()  # the end
        if self._sink_error:
            raise self._sink_error
        self._raise_failure()

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([part async for part in self.parts()])

    async def aclose(self) -> None:
        """Disconnects, and returns when the application has ended."""
        self._disconnected.set()
        await asyncio.wait({self._task}, timeout=_GRACE_S)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _receive(self) -> dict[str, Any]:
        if not self._body_sent:
            self._body_sent = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._disconnected.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode().lower(): v.decode("latin-1") for k, v in message["headers"]}
            self._started.set()
            return
        if part := message.get("body"):
            await self._take(part)
        if not message.get("more_body"):
            self._complete = True
            self._parts.put_nowait(None)

    async def put(self, part: bytes) -> bool:
        """Add a part between those of the application, in whose task this has to be called.

        Returns whether there is still a reader.
        """
        try:
            await self._take(part)
        except Exception:
            self._parts.put_nowait(None)  # the reader learns what its sink has raised
            return False
        return True

    async def _take(self, part: bytes) -> None:
        self.last_part = part
        if self._sink is None:
            self._parts.put_nowait(part)
            return
        try:
            await self._sink(part)
        except Exception as error:
            self._sink_error = error
            raise

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # marks it as seen: it is raised to the reader, if there still is one
        self._started.set()
        self._parts.put_nowait(None)

    def _raise_failure(self) -> None:
        """Raise what the application raised, unless its answer was complete.

        Starlette, for one, answers an unexpected error with status 500 and raises it all the same.
        """
        if self._complete:
            return
        if self._task.cancelled():
            raise ConnectionError("the application was stopped")
        if failure := self._task.exception():
            raise self.translate(failure) if isinstance(failure, Exception) else failure
        raise ConnectionError("the application ended in the middle of its answer")


async def request(
    app: Any,
    method: str,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    on_response: Callable[[Response], object] | None = None,
) -> Response:
    """Send a request to `target`, a path with an optional query; return when the answer starts.

    `on_response` gets it before the application is called.

    The scope follows the ASGI specification's HTTP part. Its version is one in which an
    application learns of a disconnect from `receive`, as from uvicorn.
    """
    url = urlsplit(target)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(url.path),
        "raw_path": url.path.encode(),
        "query_string": url.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": None,
        "server": None,
        "state": {},
    }
    response = Response(app, scope, body)
    if on_response:
        on_response(response)
    try:
        await response.started()
    except BaseException:
        await response.aclose()
        raise
    return response
