"""RunPod's side of a worker, which misbehaves as it is told."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue

Fault = Callable[[Scope, Receive, Send], Awaitable[bool]]
"""Answers a request by itself and returns True, or lets it pass to the endpoint with False."""


class FaultyPlatform:
    """An endpoint with faults: `faults["job-take"]` are those of the next polls, in turn.

    `always` has the fault of every request of a kind.
    """

    def __init__(self) -> None:
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.always: dict[str, Fault] = {}
        self.seen: dict[str, int] = defaultdict(int)
        self._app = create_app(JobQueue())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["path"].split("/")[3] if scope["path"].count("/") > 3 else ""
        kind = kind.removesuffix("-batch")
        self.seen[kind] += 1
        fault = self.always.get(kind) or (self.faults[kind] and self.faults[kind].popleft())
        if not fault or not await fault(scope, receive, send):
            await self._app(scope, receive, send)


def answer(status: int, content: bytes = b"", kind: bytes = b"application/json") -> Fault:
    """An answer that the endpoint knows nothing of."""

    async def fault(scope: Scope, receive: Receive, send: Send) -> bool:
        await _read(receive)
        headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        return True

    return fault


async def half_a_body(scope: Scope, receive: Receive, send: Send) -> bool:
    await _read(receive)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'[{"id": "ha', "more_body": True})
    _connection(receive).close()
    return True


async def reset(scope: Scope, receive: Receive, send: Send) -> bool:
    """The connection breaks before the request is read."""
    _connection(receive).abort()
    return True


async def reset_after(scope: Scope, receive: Receive, send: Send) -> bool:
    """The connection breaks when the request has been read."""
    await _read(receive)
    return await reset(scope, receive, send)


def slow(seconds: float) -> Fault:
    async def fault(scope: Scope, receive: Receive, send: Send) -> bool:
        await asyncio.sleep(seconds)
        return False

    return fault


async def _read(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


def _connection(receive: Any) -> asyncio.Transport:
    transport: asyncio.Transport = receive.__self__.transport  # of uvicorn's request
    return transport
