"""The RunPod SDK's side: its options, readiness, and the end of the process.

The SDK owns the event loop, the signals, the queue and the posting of outputs.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from vllm_worker.endpoint import process
from vllm_worker.errors import ConfigurationError
from vllm_worker.settings import Settings
from vllm_worker.startup import log_ready, step
from vllm_worker.worker import Worker

logger = logging.getLogger(__name__)


def run(worker: Worker) -> None:
    """Serves jobs until SIGTERM or SIGINT, then returns when the jobs in flight are done.

    Raises SystemExit with code 1 when the worker could not start or its engine died.
    """
    # The SDK prints every piece's text at its own default level, which is DEBUG.
    os.environ.setdefault("RUNPOD_LOG_LEVEL", os.environ.get("RUNPOD_DEBUG_LEVEL", "INFO"))
    # Not at the top: the SDK reads its environment on import, and the local endpoint sets it.
    import runpod

    runpod.serverless.start(
        {
            "handler": worker.handle,
            "concurrency_modifier": Concurrency(worker),
            "return_aggregate_stream": True,
        }
    )


@contextmanager
def queue(settings: Settings) -> Iterator[None]:
    """RunPod's queue; where the platform's environment is missing, a local endpoint is started.

    Raises ConfigurationError when the endpoint cannot listen where it should.
    """
    if settings.on_runpod:
        yield
        return
    try:
        with step("local endpoint started"):
            endpoint = process.start(settings.host, settings.port)
    except process.EndpointStartError as error:
        raise ConfigurationError([str(error)]) from None
    os.environ.update(endpoint.environment)
    logger.info("serving on %s when the engine is ready; jobs wait until then", endpoint.url)
    try:
        yield
    finally:
        endpoint.stop()


class Concurrency:
    """How many jobs the SDK may hold: none until the worker is ready, then always the same number.

    The SDK asks inside its event loop before it takes the first job. That makes it the place to
    start what must live in that loop. A number that changed later would wait for zero jobs.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._life: asyncio.Task[None] | None = None

    def __call__(self, current: int) -> int:
        if self._life is None:
            self._life = asyncio.get_running_loop().create_task(live(self._worker))
        return self._worker.settings.max_concurrency if self._worker.ready else 0


async def live(worker: Worker) -> None:
    """The worker's life inside the SDK's loop. Raises SystemExit, which ends that loop."""
    try:
        await worker.start()
    except Exception as error:
        logger.error("the worker could not start: %s: %s", type(error).__name__, error)
        raise SystemExit(1) from None
    log_ready("ready for jobs")
    await worker.wait_for_death()
    logger.error("the engine has died: answering the jobs in flight, then ending with code 1")
    # The SDK stops taking jobs, and goes on with those that it has.
    signal.raise_signal(signal.SIGTERM)
    await worker.last_answers()
    raise SystemExit(1)
