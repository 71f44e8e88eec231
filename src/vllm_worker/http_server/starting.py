"""A process that answers on the door's sockets while the worker starts: its health with 204,
browsers with the page, which shows how long the start has taken, all else with 503. Ends with its
parent.
"""

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_worker.http_server.errors import NotReady, error_response
from vllm_worker.playground.files import ABOUT, PREFIX, file_response, is_file, wants_page

_PARENT_CHECK_S = 0.5


def application_of(health: str) -> ASGIApp:
    """The application, whose start is that of the worker but for a moment."""
    began = time.monotonic()

    def answer(request: Request, path: str) -> Response | None:
        if path in ("/ping", "/health", health):
            return Response(status_code=204)
        if path == "/" and wants_page(request):
            return file_response(request)
        if is_file(path):
            return file_response(request, path.removeprefix(PREFIX))
        if path == ABOUT:
            return JSONResponse({"door": "http"})
        if path == f"{PREFIX}worker.json":  # nothing in it is secret yet
            return JSONResponse({"ready": False, "current_s": time.monotonic() - began})
        return None

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        known = answer(Request(scope), path) if scope["method"] in ("GET", "HEAD") else None
        response = known or error_response(NotReady(), path)
        response.headers["connection"] = "close"  # another server takes the next request
        await response(scope, receive, send)

    return application


async def _serve(parent: int, health: str, listeners: list[socket.socket]) -> None:
    config = uvicorn.Config(
        application_of(health), ws="none", lifespan="off", access_log=False, log_config=None
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
