"""The gateway's paths, in front of LiteLLM's, and an id for each request."""

import json
import re
import uuid
from collections.abc import Collection, Sequence

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_worker.errors import BadRequest, NoSuchRoute
from vllm_worker.gateway.fields import ASKED, FORMS, check, shown
from vllm_worker.gateway.passage import TOKEN_HEADER, Passage, Passages
from vllm_worker.web.requests import RequestError, json_response, parse_json, read_body

PROVIDER_HEADER = "x-gateway-provider"
"""How a request's provider reaches the hooks; one that a client sends is taken away."""
ID_HEADER = "x-request-id"

_NEMO = r"/apis/inference-gateway/v2/workspaces/[^/]+"
_PATHS = (
    re.compile(r"(?P<path>/v1/.+|/metrics)"),
    re.compile(r"/provider/(?P<provider>[^/]+)(?P<path>/v1/.+)"),
    re.compile(rf"{_NEMO}/openai/-(?P<path>/v1/.+)"),
    re.compile(rf"{_NEMO}/provider/(?P<provider>[^/]+)/-(?P<path>/v1/.+)"),
)
_ROUTES = {*ASKED, "/v1/models", "/metrics"}
"""Of LiteLLM's hundreds, those that ask a model, and its metrics."""

_PRIVATE = ("x-litellm-", "llm_provider-", "x-ratelimit-model")
"""Beginnings of LiteLLM's headers that tell how the gateway is built."""


_OPTIONS = "x-litellm-"
"""The beginning of headers that give LiteLLM options."""
_OWN = (PROVIDER_HEADER, TOKEN_HEADER)
_LARGEST_BODY = 100 * 1024 * 1024


class Front:
    """An ASGI application: LiteLLM's `app` behind the gateway's paths.

    `routes` are what the gateway answers by itself, and `listing` lists a provider's models, which
    LiteLLM does not know of. Streams go by `passages` past LiteLLM.
    """

    def __init__(
        self,
        app: ASGIApp,
        providers: Collection[str],
        routes: Sequence[BaseRoute],
        listing: ASGIApp,
        passages: Passages,
    ) -> None:
        self._app = app
        self._listing = listing
        self._passages = passages
        self._providers = providers
        self._router = Router(routes, redirect_slashes=False, default=self._mapped)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        request_id = headers.get(ID_HEADER) or f"req-{uuid.uuid4().hex}"
        headers[ID_HEADER] = request_id

        async def send_own(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name in [name for name in sent if name.startswith(_PRIVATE)]:
                    del sent[name]
                sent[ID_HEADER] = request_id
            await send(message)

        await self._router(scope, receive, send_own)

    async def _mapped(self, scope: Scope, receive: Receive, send: Send) -> None:
        """LiteLLM's answer, at its own path."""
        app = self._lost(scope) or self._app
        if scope["path"] == "/v1/models" and PROVIDER_HEADER in MutableHeaders(scope=scope):
            app = self._listing
        passage, first = Passage(receive, send, scope["path"]), None
        try:
            if app is self._app and scope["method"] == "POST":
                first = await _shown(scope, passage)
        except BadRequest as error:
            app = json_response({"error": error.as_object()}, error.code)
        except RequestError as error:
            app = json_response({"error": BadRequest(error.message).as_object()}, error.status)
        except ClientDisconnect:
            return
        async with self._passages.made(passage, first) as token:
            MutableHeaders(scope=scope)[TOKEN_HEADER] = token
            await app(scope, passage.hear, passage.answer)

    def _lost(self, scope: Scope) -> Response | None:
        """Why a path leads nowhere; else LiteLLM's own path comes into the scope."""
        headers = MutableHeaders(scope=scope)
        for name in [name for name in headers if name.startswith(_OPTIONS) or name in _OWN]:
            del headers[name]
        scope["query_string"] = b""
        found = [form.fullmatch(scope["path"].rstrip("/")) for form in _PATHS]
        match = next(filter(None, found), None)
        if not match:
            return not_found(f"There is nothing at {scope['path']}: the base URL ends in /v1.")
        path, provider = match["path"], match.groupdict().get("provider")
        if path not in _ROUTES:
            return not_found(f"{path} is not a route here: {', '.join(sorted(_ROUTES))}.")
        if provider is not None:
            if provider not in self._providers:
                known = ", ".join(sorted(self._providers))
                return not_found(f"There is no provider {provider!r}: there are {known}.")
            headers[PROVIDER_HEADER] = provider
        path += "/" if path == "/metrics" else ""  # where LiteLLM would send a client that follows
        scope["path"], scope["raw_path"] = path, path.encode()
        return None


async def _shown(scope: Scope, passage: Passage) -> Message | None:
    """The body that LiteLLM is shown of JSON, of which the passage keeps all.

    Raises BadRequest, RequestError, ClientDisconnect.
    """
    if scope["path"] not in ASKED:
        return None
    request = Request(scope, passage.receive)
    is_form = (
        request.headers.get("content-type", "")
        .lower()
        .startswith(("multipart/", "application/x-www-form"))
    )
    if is_form != (scope["path"] in FORMS):
        kind = "JSON" if is_form else "multipart/form-data"
        raise RequestError(415, f"The body of {scope['path']} has to be {kind}.")
    if is_form:
        return None
    body = parse_json(await read_body(request, _LARGEST_BODY))
    if not isinstance(body, dict):
        raise RequestError(400, "The body has to be a JSON object.")
    check(scope["path"], body)
    passage.body = body
    content = json.dumps(shown(scope["path"], body)).encode()
    headers = MutableHeaders(scope=scope)
    headers["content-type"], headers["content-length"] = "application/json", str(len(content))
    return {"type": "http.request", "body": content, "more_body": False}


def not_found(message: str) -> Response:
    return json_response({"error": NoSuchRoute(message).as_object()}, 404)
