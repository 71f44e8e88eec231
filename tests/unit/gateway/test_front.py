import json
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from vllm_worker.gateway.front import PROVIDER_HEADER, Front
from vllm_worker.gateway.passage import TOKEN_HEADER, Passages

PASSAGES = Passages()


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    """In LiteLLM's place: says what arrived."""
    request = Request(scope, receive)
    arrived = f"{scope['path']} {request.headers.get(PROVIDER_HEADER)}"
    private = {"x-litellm-model-api-base": "http://10.0.0.1"}
    await PlainTextResponse(arrived, headers=private)(scope, receive, send)


async def health(_: Request) -> Response:
    return PlainTextResponse("healthy")


async def listing(scope: Scope, receive: Receive, send: Send) -> None:
    listed = f"models of {Request(scope).headers[PROVIDER_HEADER]}"
    await PlainTextResponse(listed)(scope, receive, send)


async def get(path: str, **headers: str) -> httpx.Response:
    front = Front(behind, ["pod"], [Route("/health", health)], listing, PASSAGES)
    transport = httpx.ASGITransport(front)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    ("path", "arrived"),
    [
        ("/v1/chat/completions", "/v1/chat/completions None"),
        ("/v1/models/", "/v1/models None"),
        ("/provider/pod/v1/chat/completions", "/v1/chat/completions pod"),
        ("/apis/inference-gateway/v2/workspaces/default/openai/-/v1/models", "/v1/models None"),
        ("/apis/inference-gateway/v2/workspaces/default/provider/pod/-/v1/models",
         "models of pod"),
        ("/provider/pod/v1/models", "models of pod"),
        ("/health", "healthy"),
    ],
)  # fmt: skip
async def test_paths(path: str, arrived: str) -> None:
    assert (await get(path)).text == arrived


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/", "the base URL ends in /v1"),
        ("/chat/completions", "the base URL ends in /v1"),
        ("/key/generate", "the base URL ends in /v1"),
        ("/v1/files", "/v1/files is not a route here"),
        ("/provider/other/v1/models", "There is no provider 'other': there are pod"),
    ],
)
async def test_paths_that_lead_nowhere(path: str, says: str) -> None:
    answer = await get(path)
    assert answer.status_code == answer.json()["error"]["code"] == 404
    assert says in answer.json()["error"]["message"]


async def test_a_client_cannot_name_a_provider_in_a_header() -> None:
    answer = await get("/v1/models", x_gateway_provider="pod")
    assert answer.text == "/v1/models None"


async def reached(method: str = "POST", path: str = "/v1/chat/completions", **given: Any) -> Any:
    """What LiteLLM gets of a request, and the body that its passage has; or the answer's status."""
    seen: list[Any] = []

    async def litellm(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        passage = PASSAGES.get(request.headers[TOKEN_HEADER])
        assert passage
        seen.extend([request, await request.body(), passage.body])
        await PlainTextResponse(request.headers[TOKEN_HEADER])(scope, receive, send)

    front = Front(litellm, ["pod"], [], listing, PASSAGES)
    transport = httpx.ASGITransport(front)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.request(method, path, **given)
    assert PASSAGES.get(answer.text) is None
    return seen or answer.status_code


async def test_litellm_is_shown_no_more_than_it_needs() -> None:
    body = {"model": "default/m", "messages": [], "fallbacks": ["x"], "min_p": 0.1, "cache_key": 1}
    request, content, kept = await reached(json=body, params={"model": "x"})
    assert json.loads(content) == {"model": "default/m", "messages": []}
    assert request.headers["content-length"] == str(len(content))
    assert not request.query_params
    assert kept == body


async def test_headers_with_options_for_litellm_are_taken_away() -> None:
    options = {"x-litellm-timeout": "1", TOKEN_HEADER: "guessed", "x-other": "1"}
    request, _, _ = await reached(json={"messages": []}, headers=options)
    assert "x-litellm-timeout" not in request.headers
    assert request.headers["x-other"] == "1"
    assert request.headers[TOKEN_HEADER] != "guessed"


async def test_a_form_is_litellms_to_read() -> None:
    path = "/v1/audio/transcriptions"
    _, content, kept = await reached(path=path, files={"file": b"x"}, data={"model": "m"})
    assert b"form-data" in content
    assert kept is None


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("/v1/chat/completions", {"content": b"{"}, 400),
        ("/v1/chat/completions", {"content": b"[]"}, 400),
        ("/v1/chat/completions", {"json": {"messages": [], "stream": 1}}, 400),
        ("/v1/chat/completions", {"data": {"model": "m"}}, 415),
        ("/v1/chat/completions", {"files": {"file": b"x"}}, 415),
        ("/v1/audio/transcriptions", {"json": {}}, 415),
    ],
)
async def test_bodies_of_another_kind(path: str, given: Any, status: int) -> None:
    assert await reached(path=path, **given) == status


async def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    front = Front(behind, [], [], listing, PASSAGES)
    await front({"type": "websocket", "path": "/v1/realtime"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_every_answer_has_the_requests_id() -> None:
    assert (await get("/v1/models", x_request_id="mine")).headers["x-request-id"] == "mine"
    assert (await get("/nowhere")).headers["x-request-id"].startswith("req-")


async def test_headers_that_tell_how_the_gateway_is_built_are_left_out() -> None:
    assert not [name for name in (await get("/v1/models")).headers if "litellm" in name]
