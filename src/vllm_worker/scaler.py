"""The SDK's job loop without its polling: a job starts at once, not at the next look in 0.1 s.

Two methods of the SDK's JobScaler are replaced. Taking, cancelling, concurrency, the posting of
outputs and the handling of signals stay the SDK's. Written against one version of it; with another
`install` leaves all to the SDK.
"""

import asyncio
import logging
from typing import Any

from runpod.serverless.modules import rp_scale
from runpod.version import __version__ as sdk_version

from vllm_worker.worker import Worker

logger = logging.getLogger(__name__)

KNOWN_SDK = "1.12.0"


def install(worker: Worker) -> None:
    """Has the SDK use the prompt loop for this worker, if it is the version that is known."""
    if sdk_version != KNOWN_SDK:
        logger.warning(
            "runpod is %s, not %s: jobs start at the SDK's own pace, up to 0.1 s later",
            sdk_version,
            KNOWN_SDK,
        )
        return
    rp_scale.JobScaler = type("JobScaler", (PromptScaler,), {"worker": worker})


class PromptScaler(rp_scale.JobScaler):  # type: ignore[misc]
    """Takes no job before `worker` is ready, and starts each as soon as it is taken."""

    worker: Worker

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        # As large as it will ever be: the SDK would replace the queue that `run_jobs` waits on.
        self.current_concurrency = self.worker.settings.max_concurrency
        self.jobs_queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(
            maxsize=self.current_concurrency
        )
        self._taken_all = asyncio.Event()

    async def get_jobs(self, session: Any) -> None:
        try:
            self.concurrency_modifier(self.current_concurrency)  # starts the worker
            await self.worker.until_ready()
            await super().get_jobs(session)
        finally:
            self._taken_all.set()

    async def run_jobs(self, session: Any) -> None:
        """Runs until the last job is done, also one that a pending poll brings after SIGTERM."""
        running: set[asyncio.Task[None]] = set()
        taken_all = asyncio.create_task(self._taken_all.wait())
        while not self._taken_all.is_set() or not self.jobs_queue.empty():
            arrival = asyncio.create_task(self.jobs_queue.get())
            await asyncio.wait({arrival, taken_all}, return_when=asyncio.FIRST_COMPLETED)
            if not arrival.done():
                arrival.cancel()
                continue
            job = arrival.result()
            task = asyncio.create_task(self.handle_job(session, job))
            self.jobs_tasks[job["id"]] = task
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(_seen)
        await asyncio.gather(*running, return_exceptions=True)


def _seen(task: asyncio.Task[None]) -> None:
    """The SDK has logged how a job ended; asyncio need not do it again with a traceback."""
    if not task.cancelled():
        task.exception()
