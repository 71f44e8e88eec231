"""A process that answers on the door's sockets while the worker starts: its health with 204, all
else with 503. Ends with its parent.
"""

import asyncio
import os
import socket
import sys
from contextlib import suppress

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_worker.http_server.errors import NotReady, error_response

_PARENT_CHECK_S = 0.5


def _application(health: str) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in ("/ping", "/health", health) and scope["method"] in ("GET", "HEAD"):
            response = Response(status_code=204)
        else:
            response = error_response(NotReady(), scope["path"])
        response.headers["connection"] = "close"  # another server takes the next request
        await response(scope, receive, send)

    return application


async def _serve(parent: int, health: str, listeners: list[socket.socket]) -> None:
    config = uvicorn.Config(
        _application(health), ws="none", lifespan="off", access_log=False, log_config=None
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=listeners))
    while not serving.done() and os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(_PARENT_CHECK_S)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sockets = [socket.socket(fileno=int(number)) for number in sys.argv[3:]]
        asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], sockets))
