"""The worker's life inside the SDK's event loop, and the end of the process."""

import asyncio
import logging
import signal
from collections.abc import Callable
from types import FrameType

from vllm_worker.errors import StartFailure
from vllm_worker.observability.timeline import timeline
from vllm_worker.serverless.queue import Queue
from vllm_worker.worker import Worker

logger = logging.getLogger(__name__)

_LOOK_AT_QUEUE_S = 1.0


class Lifecycle:
    """Starts the worker in the loop that will serve its jobs, and ends that loop with it."""

    def __init__(self, worker: Worker, queue: Queue) -> None:
        self.worker = worker
        self._queue = queue
        self._task: asyncio.Task[None] | None = None

    def ensure_started(self) -> None:
        """Start the worker in the running loop, unless that has been done before."""
        if self._task:
            return
        loop = asyncio.get_running_loop()
        also_on_shutdown(self._queue.close)
        also_on_shutdown(lambda: _call_soon(loop, self.worker.shut_down))
        self._task = loop.create_task(run_lifecycle(self.worker, self._queue))
        # It ends the loop by SystemExit; nobody is left to be told so.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())


async def run_lifecycle(worker: Worker, queue: Queue) -> None:
    """From the start of the worker to its end. Raises SystemExit, which ends the SDK's loop."""
    timeline.end("SDK")
    try:
        await worker.start()
    except StartFailure as error:
        raise SystemExit(1) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SystemExit(1) from StartFailure(f"the worker could not start: {reason}")
    timeline.end("warm-up")
    watching = asyncio.create_task(_end_with(queue))
    await worker.wait_for_end()
    watching.cancel()
    # The SDK stops taking jobs, and goes on with those that it has.
    signal.raise_signal(signal.SIGTERM)
    await worker.drain()
    raise SystemExit(worker.exit_code)


async def _end_with(queue: Queue) -> None:
    """End the worker with its local endpoint: another one on that port has a worker of its own."""
    while not queue.has_ended():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_AT_QUEUE_S)
    logger.error("the local endpoint has ended, and so does its worker")
    signal.raise_signal(signal.SIGTERM)


def also_on_shutdown(call: Callable[[], object]) -> None:
    """Have the SDK's handlers of SIGTERM and SIGINT call this as well."""
    for number in (signal.SIGTERM, signal.SIGINT):
        of_sdk = signal.getsignal(number)

        def both(number: int, frame: FrameType | None, of_sdk: object = of_sdk) -> None:
            call()
            if callable(of_sdk):
                of_sdk(number, frame)

        signal.signal(number, both)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Not once the loop has ended: a second signal may come while the engine shuts down."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
