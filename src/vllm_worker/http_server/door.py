"""HTTP requests as jobs of the worker, and its answers as HTTP responses.

The routes behind it are those of the queue, so that what is closed to jobs is closed here too.
"""

import uuid
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from vllm_worker.engine.protocol import RequestContext
from vllm_worker.errors import BadRequest, EngineDead, JobError, NoSuchRoute, TooLarge
from vllm_worker.http_server.errors import (
    Busy,
    NotReady,
    Unauthorized,
    error_response,
)
from vllm_worker.http_server.keys import Keys
from vllm_worker.jobs.headers import HEADERS
from vllm_worker.jobs.inputs import Job, NativeJob, OpenAIJob, parse_job
from vllm_worker.jobs.validation import bad_request
from vllm_worker.local_endpoint.errors import RequestError
from vllm_worker.local_endpoint.web import parse_form, parse_json, read_body, while_connected
from vllm_worker.observability.job_log import JobRecord
from vllm_worker.routes import http
from vllm_worker.routes.allowlist import open_route
from vllm_worker.routes.http import HTTPAnswer
from vllm_worker.worker import Worker, unexpected

NATIVE = ("/generate", "/runsync")


class Door:
    """An ASGI application: one request, one job. A client that goes ends its job."""

    def __init__(self, worker: Worker, keys: Keys) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["path"]
        try:
            name = self.check_key(request)
            self._check_room()
        except JobError as error:
            await error_response(error, path)(scope, receive, send)
            return
        record = self._worker.begin(_request_id(request))
        record.key = name
        started = _Started(send)
        try:
            job = await self._job(request)
            with suppress(ClientDisconnect):
                await while_connected(receive, self._answer(job, record, started))
                return
            record.cancel()
        except ClientDisconnect:
            record.cancel()
        except JobError as error:
            failure = self._worker.failure(record, error)
            if not started:
                await error_response(failure, path)(scope, receive, send)
        except Exception as error:
            failure = self._worker.failure(record, unexpected(error))
            if not started:
                await error_response(failure, path)(scope, receive, send)

    def check_key(self, request: Request) -> str:
        """The name of the request's key. Raises Unauthorized."""
        name = self._keys.name_of(request.headers)
        if name is None:
            raise Unauthorized
        return name

    def _check_room(self) -> None:
        worker = self._worker
        if worker.dead:
            raise EngineDead
        if not worker.ready or worker.shutting_down:
            raise NotReady
        if worker.jobs_in_flight >= worker.max_concurrency:
            raise Busy

    async def _job(self, request: Request) -> Job:
        try:
            content = await read_body(request, self._settings.max_body_bytes)
            kind = request.headers.get("content-type", "").lower()
            if kind.startswith("multipart/form-data"):
                body: Any = await parse_form(request.headers, content)
            else:
                body = parse_json(content) if content else None
        except RequestError as refusal:
            error = TooLarge if refusal.status == 413 else BadRequest
            raise error(f"{refusal.message[0].upper()}{refusal.message[1:]}.") from None
        path, query = request.url.path, request.url.query
        if path in NATIVE and request.method == "POST":
            return _native_job(body)
        headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
        given = {"route": f"{path}?{query}" if query else path, "method": request.method}
        try:
            return OpenAIJob.model_validate(given | {"body": body, "headers": headers})
        except ValidationError as error:
            wrong = bad_request(error, OpenAIJob)
        if wrong.param == "route":
            raise NoSuchRoute(f"{path} is not a route of this worker.", "route")
        raise wrong

    async def _answer(self, job: Job, record: JobRecord, send: "_Started") -> None:
        route = None
        record.kind = "native" if isinstance(job, NativeJob) else "no open route"
        if isinstance(job, OpenAIJob):
            record.kind = route = open_route(
                job.path, self._settings.vllm_allow_runtime_lora_updating
            )
        context = RequestContext(record.job_id, usage=record)
        engine = self._worker.engine
        async with http.answer(job, route, context, engine, self._settings) as answer:
            await self._send(answer, record, send)
            if answer.failure:
                self._worker.failure(record, answer.failure)
            elif answer.status >= 400:
                record.fail(answer.status)
            else:
                record.outcome = "completed"

    async def _send(self, answer: HTTPAnswer, record: JobRecord, send: "_Started") -> None:
        headers = [("content-type", answer.kind), ("x-request-id", record.job_id)]
        if answer.kind.startswith(http.EVENTS):
            headers += [("cache-control", "no-cache"), ("x-accel-buffering", "no")]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        async for part in answer.body:
            record.chunks += 1
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Started:
    """A `send` that knows whether the response has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    def __bool__(self) -> bool:
        return self._begun

    async def __call__(self, message: Message) -> None:
        self._begun = True
        await self._send(message)


def _request_id(request: Request) -> str:
    """The client's own, if it looks like one: it is in the log."""
    given = request.headers.get("x-request-id", "")
    plain = given.isascii() and given.replace("-", "").replace("_", "").isalnum()
    return given if plain and len(given) <= 64 else f"http-{uuid.uuid4()}"


def _native_job(body: Any) -> NativeJob:
    """The native form by itself, or as RunPod's `{"input": …}`."""
    if isinstance(body, dict) and body.keys() <= {"input", "webhook", "policy", "id"}:
        body = body.get("input")
    job = parse_job(body)
    if not isinstance(job, NativeJob):
        raise BadRequest("This path takes native jobs: give prompt or messages.", "prompt")
    return job
