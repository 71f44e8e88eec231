"""Serving the application: the socket, the signals, and the end of the process."""

import asyncio
import contextlib
import os
import signal
import socket
from types import FrameType

import uvicorn

from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.webhooks import Webhooks
from vllm_worker.web.keys import Keys

# Longer than the 15 s after which the SDK's client (aiohttp) gives up an idle connection. It does
# not repeat a POST that meets a connection just closed by the server: the chunk would be lost.
KEEP_ALIVE_S = 75
GRACEFUL_S = 2
PARENT_CHECK_S = 0.5


class EndpointServer(uvicorn.Server):
    """A server that ends with its parent, and outlives Ctrl-C when it has one.

    Ctrl-C reaches parent and child: the child only closes its queue, so that the worker's last
    results can be posted; the parent then ends it with SIGTERM.
    """

    def __init__(
        self,
        queue: JobQueue,
        parent: int | None = None,
        keys: Keys | None = None,
        endpoint_id: str | None = None,
    ) -> None:
        config = uvicorn.Config(
            create_app(queue, keys, endpoint_id),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACEFUL_S,
        )
        super().__init__(config)
        self._queue = queue
        self._parent = parent
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._parent is not None:
            self._following = asyncio.create_task(self._follow(self._parent))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._queue.close)
        if sig != signal.SIGINT or self._parent is None:
            super().handle_exit(sig, frame)

    async def _follow(self, parent: int) -> None:
        # Looked up in intervals: a pipe's end would be kept open by the parent's forks.
        while os.getppid() == parent:  # noqa: ASYNC110
            await asyncio.sleep(PARENT_CHECK_S)
        self.should_exit = True


def serve(
    listener: socket.socket, parent: int | None, keys: Keys, endpoint_id: str | None = None
) -> None:
    """Serve on a listening socket until SIGTERM, or until the process `parent` is gone.

    Without a parent, SIGINT ends it too.
    """
    server = EndpointServer(JobQueue(on_end=Webhooks()), parent, keys, endpoint_id)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
