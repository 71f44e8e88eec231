"""On a worker's PYTHONPATH: the SDK's network check finds what it connects to on this machine."""

import sys
from typing import Any

if "vllm_worker.serverless.fitness" in sys.orig_argv:
    import asyncio
    import socket

    connect = asyncio.open_connection
    listener = socket.create_server(("127.0.0.1", 0))

    def open_connection(host: str, port: int) -> Any:
        assert (host, port) == ("8.8.8.8", 53)
        return connect(*listener.getsockname())

    asyncio.open_connection = open_connection  # type: ignore[assignment]
