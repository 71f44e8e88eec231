"""Providers as LiteLLM asks them, at /PROVIDER/v1/…: with true statuses and a limited wait.

RunPod's queue answers failed jobs with status 200, takes JSON alone, and holds a request for as
long as no worker is there. The events of many streams at once are merged into fewer.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from vllm_worker.gateway.file import Provider
from vllm_worker.gateway.merging import Merger
from vllm_worker.web.requests import RequestError, json_response, parse_form

_JSON = "application/json"
_EVENT_END = b"\n\n"
_LONGEST_EVENT = 1_000_000
_STATUSES = range(400, 600)


@dataclass(frozen=True)
class Upstream:
    """`providers` by their names, `keys` likewise: what they ask for. Who asks here has to send
    `password` as a key.
    """

    providers: Mapping[str, Provider]
    keys: Mapping[str, str]
    password: str
    client: httpx.AsyncClient
    merger: Merger = field(default_factory=Merger)

    def app(self) -> Starlette:
        """The application; `client` is the caller's to close."""
        return Starlette(
            routes=[Route("/{provider}/v1/{path:path}", self._forward, methods=["GET", "POST"])]
        )

    async def _forward(self, request: Request) -> Response:
        name, path = request.path_params["provider"], request.path_params["path"]
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self.password}".encode()):
            return _error(401, "This path is the gateway's own.")
        provider = self.providers[name]
        try:
            content, kind = await _body(request, provider.is_queue)
        except RequestError as error:
            return _error(error.status, error.message)
        headers = {"Content-Type": kind}
        if key := self.keys.get(name):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{provider.base_url}/{path}"
        asked = self.client.build_request(request.method, url, content=content, headers=headers)
        try:
            async with asyncio.timeout(provider.wait):
                answer = await self.client.send(asked, stream=True)
                parts = answer.aiter_bytes()
                begun = await _beginning(answer, parts)
        except TimeoutError:
            return _error(504, f"{name} did not begin to answer within {provider.wait:g} s")
        except httpx.HTTPError as error:
            return _error(503, f"{name} cannot be reached: {type(error).__name__}")
        return await self._as_meant(answer, begun, parts)

    async def _as_meant(
        self, answer: httpx.Response, begun: bytes, parts: AsyncIterator[bytes]
    ) -> Response:
        """The answer, with the status of the error that it holds."""
        event, _, _ = begun.partition(_EVENT_END)
        if answer.status_code == 200 and (failure := _failure(event.removeprefix(b"data: "))):
            await answer.aclose()
            return json_response({"error": failure}, _status(failure))
        headers = {name: answer.headers[name] for name in _KEPT if name in answer.headers}

        async def whole() -> AsyncIterator[bytes]:
            yield begun
            async for part in parts:
                yield part

        sent = self.merger.merged(whole()) if _is_stream(answer) else whole()
        closing = BackgroundTask(answer.aclose)
        return StreamingResponse(sent, answer.status_code, headers, background=closing)


async def _body(request: Request, as_json: bool) -> tuple[bytes, str]:
    """The body and its type; a form becomes JSON as the worker takes it. Raises RequestError."""
    content = await request.body()
    kind = request.headers.get("content-type", _JSON)
    if as_json and kind.startswith("multipart/form-data"):
        return json.dumps(await parse_form(request.headers, content)).encode(), _JSON
    return content, kind


def _is_stream(answer: httpx.Response) -> bool:
    return str(answer.headers.get("content-type", "")).startswith("text/event-stream")


async def _beginning(answer: httpx.Response, parts: AsyncIterator[bytes]) -> bytes:
    """The first event of a stream, or a whole answer."""
    begun = b""
    async for part in parts:
        begun += part
        if _is_stream(answer) and (_EVENT_END in begun or len(begun) > _LONGEST_EVENT):
            break
    return begun


_KEPT = ("content-type", "retry-after", "x-job-id")


def _failure(text: bytes) -> dict[str, Any] | None:
    """OpenAI's error object in a body or event, or what RunPod says of a job that failed."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict) or not (error := content.get("error")):
        return None
    if isinstance(error, str):  # RunPod's, where a worker's own error object is a text
        try:
            error = json.loads(error)
        except ValueError:
            error = {"message": error, "type": "InternalServerError", "param": None, "code": 500}
    return error if isinstance(error, dict) and "message" in error else None


def _status(failure: Mapping[str, Any]) -> int:
    code = failure.get("code")
    return code if isinstance(code, int) and code in _STATUSES else 500


def _error(status: int, message: str) -> Response:
    error = {"message": message, "type": "UpstreamError", "param": None, "code": status}
    return json_response({"error": error}, status)
