"""The endpoint's web application: both sides of RunPod's protocol over one queue."""

from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_worker.local_endpoint.batches import Batches
from vllm_worker.local_endpoint.client_side import ClientSide
from vllm_worker.local_endpoint.errors import openai_error
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.openai_gateway import CANCELLED_STATUS, OpenAIGateway
from vllm_worker.local_endpoint.playground_data import PlaygroundData
from vllm_worker.local_endpoint.process import DEFAULT_ID
from vllm_worker.local_endpoint.worker_side import WorkerSide
from vllm_worker.playground.files import ABOUT, is_file, welcome
from vllm_worker.web.anthropic import error_body
from vllm_worker.web.keys import WITHOUT_KEY, Keys
from vllm_worker.web.requests import RequestError, json_response, origin_of


def create_app(
    queue: JobQueue, keys: Keys | None = None, endpoint_id: str | None = None
) -> Starlette:
    """The application. Clients may leave `/v2/{endpoint}` out.

    With `keys`, clients and workers have to send one of them; without `endpoint_id`, any is
    accepted.
    """
    gateway = OpenAIGateway(queue)
    openai = Route("/openai/{path:path}", gateway)
    client = [openai, *ClientSide(queue).routes(), *Batches(queue).routes()]
    worker = WorkerSide(queue).routes()
    # As on every other local server.
    root = Route("/", partial(_root, endpoint_id or DEFAULT_ID), methods=["GET"])
    playground = PlaygroundData(queue, endpoint_id or DEFAULT_ID).routes()
    plain = [Route("/v1/{path:path}", gateway), root, *playground]
    return Starlette(
        routes=[Mount("/v2/{endpoint}", routes=[*worker, *client]), *client, *plain],
        exception_handlers={
            RequestError: _refused,
            HTTPException: _no_such_route,
            ClientDisconnect: _gone,
        },
        middleware=[
            *([Middleware(_RequireKey, keys)] if keys and keys.required else []),
            *([Middleware(_RequireEndpoint, endpoint_id)] if endpoint_id else []),
        ],
    )


class _RequireKey:
    """Lets through to the application who has a key; the playground's page can be had without."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["path"] in ("/", ABOUT) or is_file(scope["path"])
        if not is_open and self._keys.name_of(Request(scope).headers) is None:
            error = openai_error(401, WITHOUT_KEY) | {"type": "AuthenticationError"}
            body = error_body(scope["path"].rpartition("/openai")[2], 401, error)
            await json_response(body, 401, {"www-authenticate": "Bearer"})(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _RequireEndpoint:
    """Lets through to the application who has the right endpoint id, or none."""

    def __init__(self, app: ASGIApp, endpoint_id: str) -> None:
        self._app = app
        self._endpoint_id = endpoint_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        version, given = [*scope["path"].split("/"), "", ""][1:3]
        if version == "v2" and given != self._endpoint_id:
            message = f"There is no endpoint {given!r} here, but {self._endpoint_id!r}."
            await json_response({"error": openai_error(404, message)}, 404)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _root(endpoint_id: str, request: Request) -> Response:
    places = {"openai": "/v1", "anthropic": "/", "runpod": f"/v2/{endpoint_id}"}
    return welcome(request, places)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return json_response({"error": error.message}, error.status)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CANCELLED_STATUS)  # nobody reads it


def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    if error.status_code != HTTPStatus.NOT_FOUND:
        return json_response({"error": error.detail}, error.status_code, headers)
    path, origin = request.scope["path"], origin_of(request)
    # In OpenAI's form, since most who come here have a client with a wrong base URL.
    message = (
        f"There is no {path} here. The base URL of OpenAI's clients is {origin}/v1, of Anthropic's "
        f"{origin}, and of RunPod's {origin}/v2."
    )
    return json_response({"error": openai_error(404, message)}, 404, headers)
