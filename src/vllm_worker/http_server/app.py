"""The application behind the HTTP door: health, metrics, and jobs on every other path."""

from collections.abc import Awaitable, Callable

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_worker.configuration.settings import names_in
from vllm_worker.errors import JobError
from vllm_worker.http_server.door import Door
from vllm_worker.http_server.errors import error_response
from vllm_worker.observability.self_report import SelfReport
from vllm_worker.playground.files import ABOUT, PREFIX, file_response, is_file, welcome
from vllm_worker.web.keys import Keys
from vllm_worker.worker import Worker

Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """Paths that tell about the worker, before those of jobs. Only the health needs no key."""

    def __init__(self, worker: Worker, keys: Keys, report: SelfReport | None) -> None:
        self._worker = worker
        self._report = report
        self._door = Door(worker, keys)
        health = worker.settings.health_check_path
        self._open: dict[str, Handler] = {"/": root, ABOUT: about}
        self._open |= dict.fromkeys(("/ping", "/health", health), self.ping)
        self._keyed: dict[str, Handler] = {
            "/metrics": self.metrics,
            f"{PREFIX}worker.json": self.report,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        if reads and (handler := self._open.get(path)):
            await (await handler(request))(scope, receive, send)
        elif reads and is_file(path):
            await file_response(request, path.removeprefix(PREFIX))(scope, receive, send)
        elif reads and (handler := self._keyed.get(path)):
            try:
                self._door.check_key(request)
            except JobError as error:
                await error_response(error, path)(scope, receive, send)
                return
            await (await handler(request))(scope, receive, send)
        else:
            await self._door(scope, receive, send)

    async def ping(self, request: Request) -> Response:
        """For the load balancer: 200 ready, 204 starting, 503 dead or about to end."""
        worker = self._worker
        if worker.dead or worker.shutting_down:
            return Response(status_code=503)
        if not worker.ready:
            return Response(status_code=204)
        return JSONResponse({"status": "ready", "jobs": worker.jobs_in_flight})

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text: the worker's metrics and, with DISABLE_LOG_STATS=0, vLLM's."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return PlainTextResponse(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def report(self, request: Request) -> Response:
        """For the playground: the start, the configuration without secrets, versions, metrics; and
        whether the engine is gone, or the worker about to end.
        """
        known = self._report.view() if self._report else {"ready": self._worker.ready}
        state = {"dead": self._worker.dead, "ending": self._worker.shutting_down}
        return JSONResponse(known | state, headers={"cache-control": "no-store"})


async def about(request: Request) -> Response:
    """For the playground: which door it is at."""
    return JSONResponse({"door": "http"})


async def root(request: Request) -> Response:
    """Where requests go."""
    places = {"openai": "/v1", "anthropic": "/", "native": "/generate", "health": "/ping"}
    return welcome(request, places)


def create_app(worker: Worker, keys: Keys, report: SelfReport | None = None) -> ASGIApp:
    """The application; browsers may ask it from pages of ALLOWED_ORIGINS, as they may ask vLLM's
    server.
    """
    application, settings = Application(worker, keys, report), worker.settings
    if not (origins := names_in(settings.allowed_origins)):
        return application
    return CORSMiddleware(
        application,
        origins,
        allow_methods=names_in(settings.allowed_methods),
        allow_headers=names_in(settings.allowed_headers),
        allow_credentials=settings.allow_credentials,
    )
