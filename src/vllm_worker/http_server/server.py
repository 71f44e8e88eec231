"""The HTTP door: its socket, its server in the worker's loop, and the end of the process."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
import uvloop
from starlette.types import ASGIApp

from vllm_worker.configuration.settings import Settings
from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.observability.timeline import timeline
from vllm_worker.startup.signals import ignore_signals, leave
from vllm_worker.web.keys import Keys
from vllm_worker.web.listener import CannotListenError, listen, url_of
from vllm_worker.worker import Worker

logger = logging.getLogger(__name__)

_IDLE_CHECK_S = 0.05
_CLOSE_S = 5
"""Time for the last bytes of answers to leave."""


@contextmanager
def listening(settings: Settings) -> Iterator[list[socket.socket]]:
    """The door's sockets. Raises ConfigurationError when a port cannot be listened on."""
    host, port = settings.address
    ports = {"PORT": port}
    if settings.port_health not in (None, port):
        ports["PORT_HEALTH"] = settings.port_health
    with ExitStack() as stack:
        listeners = [stack.enter_context(_listen(host, name, n)) for name, n in ports.items()]
        if settings.api_keys or settings.api_keys_file:
            whom = "a key is required"
        else:
            whom = "no key is required: RunPod's load balancer checks its own, a Pod's proxy none"
        logger.info("listening on %s/v1; %s", url_of(host, listeners[0]), whom)
        yield listeners


def _listen(host: str, name: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except CannotListenError as error:
        line = f"HOST={host} {name}={port} cannot be listened on: {error}."
        raise ConfigurationError([line]) from None


def read_keys(settings: Settings) -> Keys:
    """Raises ConfigurationError for a file of keys that cannot be read."""
    file = Path(settings.api_keys_file) if settings.api_keys_file else None
    try:
        return Keys(settings.api_keys, file)
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None


@contextmanager
def telling_that_it_starts(
    listeners: list[socket.socket], health: str
) -> Iterator[Callable[[], None]]:
    """A process answers on the sockets until what is yielded is called."""
    files = [listener.fileno() for listener in listeners]
    command = [sys.executable, "-m", "vllm_worker.http_server.starting", str(os.getpid()), health]
    process = subprocess.Popen(
        [*command, *map(str, files)], stdin=subprocess.DEVNULL, pass_fds=files, process_group=0
    )

    def stop() -> None:
        process.terminate()
        try:
            process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    try:
        yield stop
    finally:
        stop()


def serve(
    worker: Worker,
    application: ASGIApp,
    listeners: list[socket.socket],
    taken_over: Callable[[], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT; return when those in flight are done.

    `application` is that of app.py. `taken_over` is called when the server listens. Raises
    StartFailure when the worker could not start, SystemExit with code 1 when its engine died.
    """
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        asyncio.run(_serve(worker, application, listeners, taken_over))
    finally:
        ignore_signals()
    if worker.exit_code:
        raise SystemExit(worker.exit_code)


async def _serve(
    worker: Worker,
    application: ASGIApp,
    listeners: list[socket.socket],
    taken_over: Callable[[], None],
) -> None:
    server = _Server(worker, application)
    serving = asyncio.create_task(server.serve(sockets=listeners))
    listens = asyncio.create_task(server.listens.wait())
    try:
        await asyncio.wait({serving, listens}, return_when=asyncio.FIRST_COMPLETED)
        if not listens.done():
            raise StartFailure("the HTTP server did not start") from serving.exception()
        taken_over()
        try:
            await worker.start()
        except StartFailure:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise StartFailure(f"the worker could not start: {reason}") from error
        timeline.end("warm-up")
        timeline.log()
        host, _ = worker.settings.address
        everywhere = host in ("0.0.0.0", "::")  # which is no address to ask
        url = "" if everywhere else url_of(host, listeners[0])
        logger.info("%s", worker.summary(url))
        await _until_over(worker, serving)
    finally:
        server.should_exit = True
        await serving


async def _until_over(worker: Worker, serving: asyncio.Task[None]) -> None:
    """Until the engine is dead, the grace is over, or no job is left after a signal."""
    ending = asyncio.create_task(worker.wait_for_end())
    idle = asyncio.create_task(_shut_down_and_idle(worker))
    await asyncio.wait({ending, idle, serving}, return_when=asyncio.FIRST_COMPLETED)
    idle.cancel()
    if ending.done():
        await worker.drain()
    else:
        ending.cancel()


async def _shut_down_and_idle(worker: Worker) -> None:
    while not worker.shutting_down or worker.jobs_in_flight:  # noqa: ASYNC110 (seen by no event)
        await asyncio.sleep(_IDLE_CHECK_S)


class _Server(uvicorn.Server):
    """A server that a signal does not end: the worker has its jobs to finish."""

    def __init__(self, worker: Worker, application: ASGIApp) -> None:
        config = uvicorn.Config(
            application,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_CLOSE_S,
        )
        super().__init__(config)
        self._worker = worker
        self._loop: asyncio.AbstractEventLoop | None = None
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.listens.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._worker.shut_down)
        if not self._worker.ready:
            leave()
