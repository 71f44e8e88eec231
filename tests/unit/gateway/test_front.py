import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

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


async def test_a_request_has_a_passage_of_its_own() -> None:
    async def litellm(scope: Scope, receive: Receive, send: Send) -> None:
        token = Request(scope).headers[TOKEN_HEADER]
        found = PASSAGES.get(token)
        assert found
        assert token != "guessed"
        await PlainTextResponse(token)(scope, receive, send)

    front = Front(litellm, [], [], listing, PASSAGES)
    transport = httpx.ASGITransport(front)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.get("/v1/models", headers={TOKEN_HEADER: "guessed"})
    assert PASSAGES.get(answer.text) is None


async def test_every_answer_has_the_requests_id() -> None:
    assert (await get("/v1/models", x_request_id="mine")).headers["x-request-id"] == "mine"
    assert (await get("/nowhere")).headers["x-request-id"].startswith("req-")


async def test_headers_that_tell_how_the_gateway_is_built_are_left_out() -> None:
    assert not [name for name in (await get("/v1/models")).headers if "litellm" in name]
