"""A gateway's file with keys; that of ALICE is `alice's`, bob's is `bob`."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from vllm_worker.gateway.file import GatewayFile, load

FILE = """
providers: {pod: {url: "http://127.0.0.1:1/v1"}, other: {url: "http://127.0.0.1:2/v1"}}
models:
  default/llama: [{provider: pod, model: big}, {provider: other, model: big}]
  team-a/llama: [{provider: pod, model: m}]
keys:
  alice: {key: ALICE_KEY, workspaces: [team-a]}
  bob: {sha256: 81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9}
"""


@pytest.fixture
def keyed_file(tmp_path: Path) -> GatewayFile:
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE)
    return load(path, {"ALICE_KEY": "alice's"})


async def _answer(request: web.Request) -> web.Response:
    if request.headers.get("authorization") != "Bearer secret":
        return web.json_response({"error": {"message": "no key"}}, status=401)
    if request.path == "/v1/models":
        names = ["meta/Llama-3.1", "listed", "listed too"]
        return web.json_response({"data": [{"id": name} for name in names]})
    if request.url.host == "plain":
        return web.Response(text="fine")
    return web.json_response({"ok": 1, "jobs": 2})


class _Here(AbstractResolver):
    """All hosts are this one, and all ports are one port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=self._port,
                              family=socket.AF_INET, proto=0, flags=0)]  # fmt: skip

    async def close(self) -> None:
        pass


@pytest.fixture
async def providers_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Asks an application that stands for all providers; its key is `secret`."""
    application = web.Application()
    application.router.add_get("/{path:.*}", _answer)
    async with TestServer(application) as server:
        connector = aiohttp.TCPConnector(resolver=_Here(server.port or 0))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield session
