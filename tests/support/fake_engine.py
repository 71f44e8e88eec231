"""An engine without a model: says what it is told to, through the interface that the routes use."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from vllm_worker.engine import asgi_client
from vllm_worker.engine.protocol import Delta, RequestContext, VLLMRequest
from vllm_worker.jobs.inputs import NativeJob


class FakeEngine:
    """`deltas` is what every generation yields; an exception among them is raised.

    `app` is the ASGI application that `call` talks to. `pause` in seconds comes before each delta.
    """

    def __init__(self, deltas: Any = (), app: Any = None, pause: float = 0.0) -> None:
        self.deltas = list(deltas)
        self.app = app
        self.pause = pause
        self.silence = 0.0
        """How long a ping takes, in seconds."""
        self.dead = False
        self.capacity = 7
        self.context_length = 2048
        self.starts = 0
        self.running: set[str] = set()

    @property
    def started(self) -> bool:
        return self.starts > 0

    async def start(self) -> None:
        self.starts += 1

    async def ping(self) -> None:
        await asyncio.sleep(self.silence)

    def mark_dead(self) -> None:
        self.dead = True

    async def call(self, request: VLLMRequest, context: RequestContext) -> asgi_client.Response:
        return await asgi_client.request(
            self.app, request.method, request.target, request.content, request.headers
        )

    async def generate(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Delta]:
        self.running.add(context.request_id)
        try:
            for delta in self.deltas:
                await asyncio.sleep(self.pause)
                if isinstance(delta, Exception):
                    raise delta
                yield delta
        finally:
            self.running.discard(context.request_id)

    def shutdown(self) -> None:
        self.dead = True


def words(*texts: str, finish_reason: str | None = "stop") -> list[Delta]:
    """A delta of one token per text; the last one finishes."""
    deltas = [Delta(0, [text], 1, input_tokens=5) for text in texts]
    last = Delta(0, [texts[-1]], 1, input_tokens=5, finish_reason=finish_reason)
    return [*deltas[:-1], last]
