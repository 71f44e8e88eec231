"""The OpenAI gateway: `/openai/{path}` or `/v1/{path}` becomes a job, and its output the HTTP
response.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vllm_worker.jobs.headers import HEADERS
from vllm_worker.local_endpoint.errors import HTTP_SERVER_ERROR, openai_error
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job, JobPolicy, Status
from vllm_worker.web.anthropic import error_body, error_event
from vllm_worker.web.requests import (
    RequestError,
    json_response,
    parse_form,
    parse_json,
    read_body,
    while_connected,
)

# Not in the standard library: nginx's code for a request that was given up.
CANCELLED_STATUS = 499
_ERROR_STATUSES = range(400, 600)
_ROUTE = re.compile(r"(?:(?:/v2/[^/]+)?/openai)?(/.*)")


class OpenAIGateway:
    """An ASGI application: one request, one job. A client that goes cancels its job.

    Every response to a job carries its id in `X-Job-Id`, and in `X-Request-Id` unless the client
    has named its request; every error has the true HTTP status, and OpenAI's form or, on
    Anthropic's routes, Anthropic's.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = _path(request)
        try:
            job_input = await self._job_input(request)
            job = self._queue.submit(job_input, self._terms(), prefix="sync-")
        except RequestError as refusal:
            error = openai_error(refusal.status, refusal.message)
            body = error_body(path, refusal.status, error)
            await json_response(body, refusal.status)(scope, receive, send)
            return
        shown_id = request.headers.get("x-request-id") or job.id
        reply = _Reply(job, path, {"X-Job-Id": job.id, "X-Request-Id": shown_id})
        try:
            with suppress(ClientDisconnect):
                streaming = _wants_stream(job_input)
                await while_connected(receive, reply.send(streaming, scope, receive, send))
        finally:
            self._queue.cancel(job, "the client disconnected")

    async def _job_input(self, request: Request) -> dict[str, Any]:
        """The job for a request: `openai_route` and `openai_input`, or the worker's generic form.

        Raises RequestError: 400 not JSON or no form, 413 too large.
        """
        route, method = _route(request), request.method
        content = await read_body(request, self._queue.limits.runsync_bytes)
        headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
        body: Any = None
        kind = request.headers.get("content-type", "").lower()
        if kind.startswith("multipart/form-data"):
            body = await parse_form(request.headers, content)
        elif content:
            body = parse_json(content)
        if method == "GET" and not content:
            job: dict[str, Any] = {"openai_route": route}
        elif method == "POST" and isinstance(body, dict) and body:
            job = {"openai_route": route, "openai_input": body}
        else:
            job = {"route": route, "method": method, "body": body}
        if headers:
            job["openai_headers" if "openai_route" in job else "headers"] = headers
        return job

    def _terms(self) -> JobPolicy:
        limits = self._queue.limits
        return JobPolicy(limits.execution_timeout_s, limits.ttl_s, limits.runsync_retention_s)


@dataclass
class _Reply:
    """The answer to one job, for a client that asked for `path`."""

    job: Job
    path: str
    headers: dict[str, str]

    async def send(self, streaming: bool, scope: Scope, receive: Receive, send: Send) -> None:
        if streaming:
            await self.job.wait_for_update()
            if self.job.chunks and isinstance(self.job.chunks[0], str):
                await self._stream(send)
                return
        await self.job.end()
        await self._whole()(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        """Send each chunk, a string of whole SSE events, as soon as it is there."""
        job = self.job
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **self.headers}
        start = Response(headers=headers, media_type="text/event-stream")
        del start.headers["content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": start.raw_headers})
        while job.chunks or not job.final:
            text = "".join(map(str, job.take_chunks()))
            if text:
                await _send_text(send, text)
            await job.wait_for_update()
        # A failure that the worker reports is already in its last chunk.
        if job.status in (Status.CANCELLED, Status.TIMED_OUT):
            await _send_text(send, error_event(self.path, *_failure(self.job)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _whole(self) -> Response:
        """The whole answer to a job that is final."""
        job, headers = self.job, self.headers
        if job.status is not Status.COMPLETED:
            status, body = self._failure()
            return json_response(body, status, headers)
        # A worker that does not aggregate reports an empty list; then the chunks are the output.
        chunks = job.take_chunks()
        outputs = (job.output or chunks) if isinstance(job.output, list) else [job.output]
        if not outputs:
            return Response(headers=headers)
        output = outputs[0] if len(outputs) == 1 else outputs
        if isinstance(output, str):
            return Response(output.encode("utf-8", "replace"), 200, headers, "text/plain")
        return json_response(output, headers=headers)

    def _failure(self) -> tuple[int, dict[str, Any]]:
        status, error = _failure(self.job)
        return status, error_body(self.path, status, error)


async def _send_text(send: Send, text: str) -> None:
    body = text.encode("utf-8", "replace")
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _failure(job: Job) -> tuple[int, dict[str, Any]]:
    """The HTTP status and OpenAI error of a job without success."""
    if job.status is Status.FAILED:
        return _reported_failure(job.error or "")
    timed_out = job.status is Status.TIMED_OUT
    status = int(HTTPStatus.GATEWAY_TIMEOUT) if timed_out else CANCELLED_STATUS
    return status, openai_error(status, job.error or "")


def _reported_failure(text: str) -> tuple[int, dict[str, Any]]:
    """The worker's error: a JSON object as text. Other text may hold a traceback: not shown."""
    try:
        error = json.loads(text)
    except (ValueError, RecursionError):
        error = None
    if not isinstance(error, dict):
        message = "the worker failed; the job's status says how"
        return HTTP_SERVER_ERROR, openai_error(HTTP_SERVER_ERROR, message)
    code = error.get("code")
    if isinstance(code, int) and code in _ERROR_STATUSES:
        return code, error
    return HTTP_SERVER_ERROR, error


def _wants_stream(job_input: dict[str, Any]) -> bool:
    body = job_input.get("openai_input")
    return isinstance(body, dict) and body.get("stream") in (True, "true")


def _route(request: Request) -> str:
    """The path with its query string."""
    path, query = _path(request), request.url.query
    return f"{path}?{query}" if query else path


def _path(request: Request) -> str:
    """The path after `/openai` as the client wrote it (`%2F` stays)."""
    match = _ROUTE.fullmatch(request.scope["raw_path"].decode("latin-1"))
    return match[1] if match else "/" + str(request.path_params["path"])
