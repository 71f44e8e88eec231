"""A process that answers on the door's socket while the worker starts: its health with 204, all
else with 503. Ends with its parent.
"""

import asyncio
import os
import socket
import sys

import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vllm_worker.http_server.errors import NotReady, error_response

_PARENT_CHECK_S = 0.5


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    health = ("/ping", os.environ.get("HEALTH_CHECK_PATH", ""))
    if scope["path"] in health and scope["method"] in ("GET", "HEAD"):
        response = Response(status_code=204)
    else:
        response = error_response(NotReady(), scope["path"])
    response.headers["connection"] = "close"  # another server takes the next request
    await response(scope, receive, send)


async def _serve(listener: socket.socket) -> None:
    config = uvicorn.Config(
        _application, ws="none", lifespan="off", access_log=False, log_config=None
    )
    server, parent = uvicorn.Server(config), os.getppid()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not serving.done() and os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(_PARENT_CHECK_S)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
