"""HTTP requests as jobs of the worker, and its answers as HTTP responses.

The routes behind it are those of the queue, so that what is closed to jobs is closed here too.
"""

import asyncio
import time
import uuid
from contextlib import suppress
from functools import partial
from typing import Any, get_args

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from vllm_worker.engine.protocol import RequestContext
from vllm_worker.errors import (
    BadRequest,
    EngineDead,
    JobError,
    MethodNotAllowed,
    NoSuchRoute,
    TooLarge,
)
from vllm_worker.http_server.errors import (
    Busy,
    NotReady,
    TooSlow,
    Unauthorized,
    UpgradeRefused,
    error_event,
    error_response,
)
from vllm_worker.jobs.headers import HEADERS
from vllm_worker.jobs.inputs import Job, Method, NativeJob, OpenAIJob, parse_job
from vllm_worker.jobs.transportable import check_transportable
from vllm_worker.jobs.validation import bad_request
from vllm_worker.observability.job_log import JobRecord
from vllm_worker.routes import http
from vllm_worker.routes.allowlist import open_route
from vllm_worker.routes.http import HTTPAnswer
from vllm_worker.web.keys import Keys
from vllm_worker.web.requests import (
    RequestError,
    disconnected,
    parse_form,
    parse_json,
    read_body,
    run_until_gone,
)
from vllm_worker.worker import Worker, unexpected

NATIVE, RUNSYNC = "/generate", "/runsync"
_UPLOAD_S = 120
_SEND_S = 60
"""Seconds in which a client takes a part of its answer, before it counts as gone."""


class Door:
    """An ASGI application: one request, one job. A client that goes ends its job."""

    def __init__(self, worker: Worker, keys: Keys) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, path = Request(scope, receive), scope["path"]
        try:
            name = self.check_key(request)
            self._check_room(request)
        except JobError as error:
            await error_response(error, path)(scope, receive, send)
            return
        record = self._worker.begin(f"http-{uuid.uuid4()}")
        record.key = name
        reply = _Reply(send)
        failure: JobError
        try:
            await self._respond(request, record, reply)
            return
        except ClientDisconnect:
            return  # the record says cancelled, unless the answer was complete
        except asyncio.CancelledError:
            if not self._worker.shutting_down:
                raise
            return  # the server has waited long enough for this client
        except JobError as error:
            failure = self._worker.failure(record, error)
        except Exception as error:
            failure = self._worker.failure(record, unexpected(error))
        if not reply.begun:
            await error_response(failure, path)(scope, receive, send)

    def check_key(self, request: Request) -> str:
        """The name of the request's key. Raises Unauthorized."""
        name = self._keys.name_of(request.headers)
        if name is None:
            raise Unauthorized
        return name

    def _check_room(self, request: Request) -> None:
        worker = self._worker
        if "upgrade" in request.headers and request.method not in ("GET", "HEAD"):
            raise UpgradeRefused
        if worker.dead:
            raise EngineDead
        if not worker.ready or worker.shutting_down:
            raise NotReady
        if worker.jobs_in_flight >= worker.max_concurrency:
            raise Busy

    async def _respond(self, request: Request, record: JobRecord, reply: "_Reply") -> None:
        try:
            async with asyncio.timeout(_UPLOAD_S):
                job = await self._job(request)
        except TimeoutError:
            raise TooSlow from None
        # The client's own id is no name for a job: vLLM aborts all requests that share one.
        shown_id = request.headers.get("x-request-id") or record.job_id
        answering = self._answer(job, request.scope["path"], shown_id, record, reply)
        await run_until_gone(self._gone(request.receive, reply), answering)

    async def _gone(self, receive: Receive, reply: "_Reply") -> None:
        """Return when the client has left or takes nothing more; until then its connection is
        kept from being idle.
        """
        keep_alive_s = self._settings.keep_alive_s
        leaving = asyncio.ensure_future(disconnected(receive))
        try:
            while not (leaving.done() or reply.is_stuck):
                pause = reply.due_in(min(keep_alive_s, _SEND_S) or _SEND_S)
                await asyncio.wait({leaving}, timeout=pause)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SEND_S):
                        await reply.keep_alive(keep_alive_s)
        finally:
            leaving.cancel()

    async def _job(self, request: Request) -> Job:
        body = await self._body(request)
        path = request.scope["path"]
        if path in (NATIVE, RUNSYNC):
            if request.method != "POST":
                raise MethodNotAllowed(path, request.method, "POST")
            return _native_job(body, path)
        if request.method not in get_args(Method):
            raise MethodNotAllowed(path, request.method, ", ".join(get_args(Method)))
        headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
        given = {"route": _target(request.scope), "method": request.method}
        try:
            return OpenAIJob.model_validate(given | {"body": body, "headers": headers})
        except ValidationError as error:
            wrong = bad_request(error, OpenAIJob)
        if wrong.param == "route":
            raise NoSuchRoute(f"{path} is not a route of this worker.", "route")
        raise wrong

    async def _body(self, request: Request) -> Any:
        try:
            content = await read_body(request, self._settings.max_body_bytes)
            if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                return await parse_form(request.headers, content)
            body = parse_json(content) if content else None
        except RequestError as refusal:
            error = TooLarge if refusal.status == 413 else BadRequest
            raise error(f"{refusal.message[0].upper()}{refusal.message[1:]}.") from None
        if isinstance(body, dict):
            check_transportable(body)
        return body

    async def _answer(
        self, job: Job, path: str, shown_id: str, record: JobRecord, reply: "_Reply"
    ) -> None:
        route = None
        record.kind = "native" if isinstance(job, NativeJob) else "no open route"
        if isinstance(job, OpenAIJob):
            runtime_lora = self._settings.vllm_allow_runtime_lora_updating
            record.kind = route = open_route(job.path, runtime_lora)
        context = RequestContext(record.job_id, usage=record)
        engine = self._worker.engine
        if path == RUNSYNC and isinstance(job, NativeJob):
            finished = await http.run_sync(job, context, engine, self._settings)
            await self._send(finished, shown_id, record, reply)
            return
        explain = partial(self._explain, path, record)
        async with http.answer(job, route, context, engine, self._settings, explain) as answer:
            await self._send(answer, shown_id, record, reply)

    async def _send(
        self, answer: HTTPAnswer, shown_id: str, record: JobRecord, reply: "_Reply"
    ) -> None:
        await reply.begin(answer, shown_id)

        async def send(part: bytes) -> None:
            record.chunks += 1
            await reply.send(part)

        await answer.write(send)
        await reply.end()
        if record.code is None:  # nor has a stream failed
            if answer.status < 400:
                record.outcome = "completed"
            else:
                record.fail(answer.status)

    def _explain(self, path: str, record: JobRecord, error: JobError) -> bytes:
        return error_event(self._worker.failure(record, error), path)


class _Reply:
    """The response to one request."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self._streams = False
        self._last = time.monotonic()
        """When the last part was begun to be sent."""
        self._sending = False

    async def begin(self, answer: HTTPAnswer, request_id: str) -> None:
        headers = {**answer.headers, "x-request-id": request_id}
        if answer.headers.get("content-type", "").startswith(http.EVENTS):
            headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
            self._streams = True
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.begun = True
        await self._put({"type": "http.response.start", "status": answer.status, "headers": raw})

    async def send(self, part: bytes) -> None:
        await self._put({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        self._streams = False
        await self._put({"type": "http.response.body", "body": b"", "more_body": False})

    async def keep_alive(self, after_s: float) -> None:
        """Send a comment to a stream that has been silent for so long; with 0, none."""
        silent = time.monotonic() - self._last >= after_s > 0
        if silent and self._streams and not self._sending:
            await self.send(b": keep-alive\n\n")

    @property
    def is_stuck(self) -> bool:
        """Whether the client has not taken a part for so long that it counts as gone."""
        return self._sending and time.monotonic() - self._last > _SEND_S

    def due_in(self, seconds: float) -> float:
        """The rest of the seconds since the last part; all of them once they are over."""
        rest = self._last + seconds - time.monotonic()
        return rest if rest > 0 else seconds

    async def _put(self, message: Message) -> None:
        self._last, self._sending = time.monotonic(), True
        await self._send(message)
        self._sending = False


def _target(scope: Scope) -> str:
    """Path and query as they were sent."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _native_job(body: Any, path: str) -> NativeJob:
    """The native form by itself, or as RunPod's `{"input": …}`."""
    if isinstance(body, dict) and "input" in body and not {"prompt", "messages"} & body.keys():
        body = body["input"]
    job = parse_job(body)
    if not isinstance(job, NativeJob):
        raise BadRequest(f"{path} takes native jobs: give prompt or messages.", "prompt")
    return job
