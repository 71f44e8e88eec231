"""Stands between a worker and the endpoint for stream posts, to hold them while a test looks on."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.threaded_server import serving


class StreamGate:
    """Forwards job-stream posts to the endpoint and counts them; while `shut` is set they wait."""

    def __init__(self, endpoint_url: str) -> None:
        self.shut = False
        self.held = 0
        self.posts = 0
        self._client = httpx.AsyncClient(base_url=endpoint_url, trust_env=False)
        self.app = Starlette(routes=[Route("/{path:path}", self._forward, methods=["POST"])])
        self.url = ""

    async def _forward(self, request: Request) -> Response:
        body = await request.body()
        self.posts += 1
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
    with serving(gate.app) as gate.url:
        yield gate
