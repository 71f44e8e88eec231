"""The gateway's paths, in front of LiteLLM's, and an id for each request."""

import re
import uuid
from collections.abc import Collection, Sequence

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_worker.errors import NoSuchRoute
from vllm_worker.gateway.passage import TOKEN_HEADER, Passages
from vllm_worker.web.requests import json_response

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
_ROUTES = {
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages",
    "/v1/audio/transcriptions", "/v1/models", "/metrics",
}  # fmt: skip
"""Of LiteLLM's hundreds, those that ask a model, and its metrics."""

_PRIVATE = ("x-litellm-", "llm_provider-", "x-ratelimit-model")
"""Beginnings of LiteLLM's headers that tell how the gateway is built."""


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
        headers = MutableHeaders(scope=scope)
        if scope["path"] == "/v1/models" and PROVIDER_HEADER in headers:
            app = self._listing
        async with self._passages.made(receive, send) as (headers[TOKEN_HEADER], passage):
            await app(scope, passage.hear, passage.answer)

    def _lost(self, scope: Scope) -> Response | None:
        """Why a path leads nowhere; else LiteLLM's own path comes into the scope."""
        headers = MutableHeaders(scope=scope)
        del headers[PROVIDER_HEADER]
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


def not_found(message: str) -> Response:
    return json_response({"error": NoSuchRoute(message).as_object()}, 404)
