"""A gateway's file with keys; that of ALICE is `alice's`, bob's is `bob`."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

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


async def _answer(request: Request) -> Response:
    if request.headers.get("authorization") != "Bearer secret":
        return JSONResponse({"error": {"message": "no key"}}, 401)
    if request.url.path == "/v1/models":
        names = ["meta/Llama-3.1", "listed", "listed too"]
        return JSONResponse({"data": [{"id": name} for name in names]})
    if request.url.hostname == "plain":
        return PlainTextResponse("fine")
    return JSONResponse({"ok": 1, "jobs": 2})


@pytest.fixture
def providers_client() -> httpx.AsyncClient:
    """Asks an application that stands for all providers; its key is `secret`."""
    app = Starlette(routes=[Route("/{path:path}", _answer)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app))
