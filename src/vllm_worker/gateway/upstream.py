"""Providers as LiteLLM asks them, at /PROVIDER/v1/…: with true statuses and a limited wait.

RunPod's queue answers failed jobs with status 200, takes JSON alone, and holds a request for as
long as no worker is there. A stream goes to the client by its passage, and to LiteLLM in fewer
events. aiohttp asks, since httpx works for a quarter of a millisecond on each event.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from vllm_worker.gateway.fields import ASKED, FORMS, completed
from vllm_worker.gateway.file import Provider
from vllm_worker.gateway.merging import EVENT_END, Merger, told_seldom
from vllm_worker.gateway.passage import TOKEN_HEADER, Passage, Passages, upstream_error
from vllm_worker.web.requests import (
    RequestError,
    disconnected,
    json_response,
    parse_form,
    run_until_gone,
)

_JSON = "application/json"
_LONGEST_EVENT = 1_000_000
_STATUSES = range(400, 600)
_TELL_LITELLM_S = 1.0
"""How often LiteLLM is told of a stream that passes it by."""


@dataclass(frozen=True)
class Upstream:
    """`providers` and the `headers` that carry their keys, by their names. Who asks here has to
    send `password` as a key.
    """

    providers: Mapping[str, Provider]
    headers: Mapping[str, Mapping[str, str]]
    password: str
    session: aiohttp.ClientSession
    passages: Passages
    merger: Merger = field(default_factory=Merger)

    def app(self) -> Starlette:
        """The application; `session` is the caller's to close."""
        return Starlette(
            routes=[Route("/{provider}/v1/{path:path}", self._forward, methods=["GET", "POST"])]
        )

    async def _forward(self, request: Request) -> Response:
        passage = self.passages.get(request.headers.get(TOKEN_HEADER))
        name, path = request.path_params["provider"], f"/v1/{request.path_params['path']}"
        if refusal := self._refusal(request, path, passage) or _too_late(passage):
            return refusal
        wait = self.providers[name].wait
        try:
            async with asyncio.timeout(wait):
                content, kind = await _body(request, self.providers[name].is_queue)
                if passage and passage.body and passage.path == path:
                    content = completed(passage.body, content)
                gone = _either_gone(request, passage)
                begun = await run_until_gone(gone, self._begin(request, content, kind))
        except RequestError as error:
            return _error(error.status, error.message)
        except TimeoutError:
            return _error(504, f"{name} did not begin to answer within {wait:g} s")
        except aiohttp.ClientError as error:
            return _error(503, f"{name} cannot be reached: {type(error).__name__}")
        except ClientDisconnect:
            return _error(499, "The client has left.")
        if refusal := _too_late(passage):
            await begun.rest.aclose()
            return refusal
        return await self._as_meant(begun, name, path, passage)

    def _refusal(self, request: Request, path: str, passage: Passage | None) -> Response | None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self.password}".encode()):
            return _error(401, "This path is the gateway's own.")
        if path not in ASKED:
            return _error(404, f"The gateway does not ask for {path}.")
        if not passage and path not in FORMS:
            return _error(403, "Nobody has asked for this.")  # LiteLLM by itself
        return None

    async def _begin(self, request: Request, content: bytes, kind: str) -> "_Begun":
        name, path = request.path_params["provider"], request.path_params["path"]
        url = f"{self.providers[name].base_url}/{path}"
        headers = {"Content-Type": kind} | dict(self.headers[name])
        answer = await self.session.request(
            request.method, url, data=content, headers=headers, allow_redirects=False
        )
        parts = _closing(answer)
        return _Begun(answer, await _beginning(answer, parts), parts)

    async def _as_meant(
        self, begun: "_Begun", name: str, path: str, passage: Passage | None
    ) -> Response:
        """The answer, with the status of the error that it holds, and a stream on its way."""
        answer, whole = begun.answer, begun.whole()
        event, _, _ = begun.first.partition(EVENT_END)
        if answer.status == 200 and (failure := _failure(event.removeprefix(b"data: "))):
            await begun.rest.aclose()
            return json_response({"error": failure}, _status(failure))
        if answer.status == 200 and _is_stream(answer) and passage and passage.lets_through(path):
            passed = passage.through(whole, name, answer.close)
            whole = told_seldom(passed, _TELL_LITELLM_S)
        elif _is_stream(answer):
            whole = self.merger.merged(whole)
        status = answer.status
        if status == 404 and passage and (passage.body or {}).get("previous_response_id"):
            status = 400  # what is gone is the response: of 404 LiteLLM thinks that it is the model
        kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        return StreamingResponse(whole, status, kept)


def _too_late(passage: Passage | None) -> Response | None:
    """Of this status LiteLLM does not conclude that the provider has failed."""
    if passage and (passage.is_answered or passage.left.is_set()):
        return _error(409, "There is nobody for another answer.")
    return None


async def _either_gone(request: Request, passage: Passage | None) -> None:
    """Wait until LiteLLM or the client has left."""
    gone: list[asyncio.Future[Any]] = [asyncio.ensure_future(disconnected(request.receive))]
    if passage:
        gone.append(asyncio.ensure_future(passage.left.wait()))
    try:
        await asyncio.wait(gone, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in gone:
            waiting.cancel()


@dataclass(frozen=True)
class _Begun:
    """A provider's answer: all of it, or the first event of a stream and then the rest."""

    answer: aiohttp.ClientResponse
    first: bytes
    rest: AsyncGenerator[bytes]

    async def whole(self) -> AsyncIterator[bytes]:
        yield self.first
        async for part in self.rest:
            yield part


async def _closing(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """The answer's bytes, without the CR that some servers have in the ends of their lines."""
    with closing(answer):
        async for part in answer.content.iter_any():
            yield part.replace(b"\r", b"") if _is_stream(answer) else part


async def _body(request: Request, as_json: bool) -> tuple[bytes, str]:
    """The body and its type; a form becomes JSON as the worker takes it. Raises RequestError."""
    content = await request.body()
    kind = request.headers.get("content-type", _JSON)
    if as_json and kind.startswith("multipart/form-data"):
        return json.dumps(await parse_form(request.headers, content)).encode(), _JSON
    return content, kind


def _is_stream(answer: aiohttp.ClientResponse) -> bool:
    return str(answer.headers.get("content-type", "")).startswith("text/event-stream")


async def _beginning(answer: aiohttp.ClientResponse, parts: AsyncIterator[bytes]) -> bytes:
    """The first event of a stream, or a whole answer."""
    begun = b""
    async for part in parts:
        begun += part
        if _is_stream(answer) and (EVENT_END in begun or len(begun) > _LONGEST_EVENT):
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
    return json_response(upstream_error(message, status), status)
