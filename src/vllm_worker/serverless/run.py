"""The RunPod SDK's side: its options, readiness, and the end of the process.

The SDK owns the event loop, the signals, the queue and the posting of outputs.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvloop

from vllm_worker.configuration.settings import Settings
from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.local_endpoint import process
from vllm_worker.observability.timeline import step, timeline
from vllm_worker.worker import Worker

logger = logging.getLogger(__name__)

CloseQueue = Callable[[], None]
"""Makes a queue give out no more jobs."""


@contextmanager
def queue(settings: Settings) -> Iterator[CloseQueue]:
    """RunPod's queue; where the platform's environment is missing, a local endpoint is started.

    Raises ConfigurationError when the endpoint cannot listen where it should.
    """
    if settings.on_runpod:
        yield lambda: None  # the platform knows when it ends a worker
        return
    try:
        with step("local endpoint started"):
            endpoint = process.start(settings.host, settings.port)
    except process.EndpointStartError as error:
        raise ConfigurationError([str(error)]) from None
    os.environ.update(endpoint.environment)
    timeline.end("local endpoint")
    logger.info("serving on %s when the engine is ready; jobs wait until then", endpoint.url)
    try:
        yield endpoint.close
    finally:
        endpoint.stop()


def import_sdk() -> tuple[Any, Any]:
    """The SDK and what is built on it, which takes a second.

    Not before `queue`: the SDK reads its environment on import, and the local endpoint sets it.
    """
    # The SDK prints every piece's text at its own default level, which is DEBUG.
    os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    import runpod

    from vllm_worker.serverless import job_loop

    return runpod, job_loop


def run(worker: Worker, close_queue: CloseQueue) -> None:
    """Serves jobs until SIGTERM or SIGINT, then returns when the jobs in flight are done.

    Raises StartFailure when the worker could not start, SystemExit with code 1 when its engine
    died and with 0 when jobs did not finish in time, and ConfigurationError for a mode of the SDK
    in which the engine would never start.
    """
    if modes := {"--test_input", "--rp_serve_api"} & {word.split("=")[0] for word in sys.argv}:
        local = "Without RunPod's environment, handler.py serves a local endpoint by itself"
        raise ConfigurationError([f"{modes.pop()} is not supported. {local}."])
    runpod, job_loop = import_sdk()
    job_loop.install(worker)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        runpod.serverless.start(
            {
                "handler": worker.handle,
                "concurrency_modifier": Concurrency(worker, close_queue),
                "return_aggregate_stream": True,
            }
        )
    except SystemExit as end:
        if isinstance(end.__cause__, StartFailure):
            raise end.__cause__ from None
        raise
    # The SDK may have been done before `live` was.
    if worker.exit_code:
        raise SystemExit(worker.exit_code)


class Concurrency:
    """How many jobs the SDK may hold: none until the worker is ready, then always the same number.

    The SDK asks inside its event loop before it takes the first job. That makes it the place to
    start what must live in that loop. A number that changed later would wait for zero jobs.
    """

    def __init__(self, worker: Worker, close_queue: CloseQueue) -> None:
        self._worker = worker
        self._close_queue = close_queue
        self._life: asyncio.Task[None] | None = None
        self._takes_jobs = False

    def __call__(self, current: int) -> int:
        if self._life is None:
            loop = asyncio.get_running_loop()
            also_on_shutdown(self._close_queue)
            also_on_shutdown(lambda: _call_soon(loop, self._worker.shut_down))
            self._life = loop.create_task(live(self._worker))
            # It ends the loop by SystemExit; nobody is left to be told so.
            self._life.add_done_callback(lambda life: life.cancelled() or life.exception())
        if not self._worker.ready:
            return 0
        if not self._takes_jobs:
            self._takes_jobs = True
            timeline.end("first job-take")
            timeline.log()
        return self._worker.settings.max_concurrency


def also_on_shutdown(call: Callable[[], object]) -> None:
    """Has the SDK's handlers of SIGTERM and SIGINT call this as well."""
    for number in (signal.SIGTERM, signal.SIGINT):
        the_sdks = signal.getsignal(number)

        def both(number: int, frame: FrameType | None, the_sdks: object = the_sdks) -> None:
            call()
            if callable(the_sdks):
                the_sdks(number, frame)

        signal.signal(number, both)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Not once the loop has ended: a second signal may come while the engine shuts down."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


async def live(worker: Worker) -> None:
    """The worker's life inside the SDK's loop. Raises SystemExit, which ends that loop."""
    timeline.end("SDK")
    try:
        await worker.start()
    except StartFailure as error:
        raise SystemExit(1) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SystemExit(1) from StartFailure(f"the worker could not start: {reason}")
    timeline.end("warm-up")
    await worker.wait_for_end()
    # The SDK stops taking jobs, and goes on with those that it has.
    signal.raise_signal(signal.SIGTERM)
    await worker.last_answers()
    raise SystemExit(worker.exit_code)
