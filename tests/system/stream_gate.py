"""Stands between a worker and the endpoint for stream posts, to hold them while a test looks on."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vllm_worker.endpoint.process import listen


class StreamGate:
    """Forwards job-stream posts to the endpoint; while `shut` is set they wait."""

    def __init__(self, endpoint_url: str) -> None:
        self.shut = False
        self.held = 0
        self._client = httpx.AsyncClient(base_url=endpoint_url, trust_env=False)
        self.app = Starlette(routes=[Route("/{path:path}", self._forward, methods=["POST"])])
        self.url = ""

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        if self.shut:
            self.held += 1
            while self.shut:
                await asyncio.sleep(0.02)
        path = f"{request.url.path}?{request.url.query}"
        answer = await self._client.post(path, content=body)
        return Response(answer.content, answer.status_code)


@contextmanager
def stream_gate(endpoint_url: str) -> Iterator[StreamGate]:
    gate = StreamGate(endpoint_url)
    server = uvicorn.Server(
        uvicorn.Config(
            gate.app,
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=75,  # the SDK loses a post to a connection that was just closed
        )
    )
    with listen("127.0.0.1", 0) as socket:
        gate.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        thread.start()
        yield gate
        server.should_exit = True
        thread.join(timeout=5)
