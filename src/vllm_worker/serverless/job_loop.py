"""The SDK's job loop without its polling: a job starts when it is taken, not up to 0.1 s later.

Two methods of the SDK's JobScaler are overridden, the jobs that its polls bring are checked before
it gets them, and results.py posts its outputs. Cancelling, concurrency and the handling of signals
stay the SDK's. With an SDK that is different inside, `install` changes nothing.
"""

import asyncio
import logging
import time
from functools import partial
from typing import Any

from runpod.http_client import TooManyRequests
from runpod.serverless.modules import rp_http, rp_scale
from runpod.version import __version__ as sdk_version

from vllm_worker.probes import Fields, Mentions, Takes
from vllm_worker.serverless import results
from vllm_worker.serverless.lifecycle import Lifecycle

logger = logging.getLogger(__name__)

_SdkLoop: Any = getattr(rp_scale, "JobScaler", object)

_AFTER_FAILURE_S = 1.0
_SHORTEST_POLL_S = 0.05
"""The SDK polls again at once; a platform in trouble answers at once."""


def install(lifecycle: Lifecycle) -> None:
    """Have the SDK use the loop below for this worker, unless the SDK is different inside."""
    if difference := sdk_difference():
        warn_of_sdk(difference)
        return
    results.install()
    rp_scale.JobScaler = type("JobScaler", (EventDrivenJobScaler,), {"lifecycle": lifecycle})


def sdk_difference() -> str:
    """What is different about the SDK from what this module was written for, or nothing."""
    attributes = ("jobs_queue", "jobs_fetcher", "job_progress", "current_concurrency")
    for owner, name, probe in (
        (rp_scale, "JobScaler", Fields("start", "get_jobs", "run_jobs", "handle_job")),
        (_SdkLoop, "__init__", Mentions(*attributes)),
        (_SdkLoop, "get_jobs", Takes("self", "session")),
        (_SdkLoop, "run_jobs", Takes("self", "session")),
        (_SdkLoop, "handle_job", Takes("self", "session", "job")),
        (rp_http, "_transmit", Takes("client_session", "url", "job_data")),
        (rp_http, "JOB_DONE_URL", Fields("partition")),
    ):
        found = getattr(owner, name, None)
        problem = "is gone" if found is None else probe(found)
        if problem:
            return f"{name} {problem}"
    return ""


def warn_of_sdk(difference: str) -> None:
    """Log what is lost where the SDK's own loop runs the jobs."""
    logger.warning(
        "runpod %s is different (%s): jobs start up to 0.1 s later, when the SDK polls, "
        "and failed posts are not retried",
        sdk_version,
        difference,
    )


class EventDrivenJobScaler(_SdkLoop):  # type: ignore[misc]
    """A job loop that takes no job before the worker is ready, and starts each at once."""

    lifecycle: Lifecycle

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        # As large as it will ever be: the SDK would replace the queue that `run_jobs` waits on.
        self.current_concurrency = self.lifecycle.worker.max_concurrency
        self.jobs_queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(
            maxsize=self.current_concurrency
        )
        self._taken_all = asyncio.Event()
        self._held: set[str] = set()
        self._again: dict[str, dict[str, Any]] = {}
        self._poll: Any = self.jobs_fetcher  # type: ignore[has-type]
        self.jobs_fetcher = self.take

    async def get_jobs(self, session: Any) -> None:
        try:
            self.lifecycle.ensure_started()
            await self.lifecycle.worker.until_ready()
            await super().get_jobs(session)
        finally:
            self._taken_all.set()

    async def take(self, session: Any, wanted: int) -> list[dict[str, Any]]:
        """The jobs that a poll brings, without what is no job, or is one that this worker holds."""
        begun = time.monotonic()
        try:
            jobs = await self._poll(session, wanted)
        except TooManyRequests:
            raise  # the SDK waits by itself
        except Exception:
            await asyncio.sleep(_AFTER_FAILURE_S)
            raise
        new = [job for job in jobs or () if self._is_new(job)]
        if not new:
            shortest = _AFTER_FAILURE_S if jobs else _SHORTEST_POLL_S
            await asyncio.sleep(max(0.0, begun + shortest - time.monotonic()))
        return new

    def _is_new(self, job: Any) -> bool:
        if not isinstance(job, dict) or not isinstance(job.get("id"), str):
            logger.error("the queue delivered a job without an id, which cannot be answered")
            return False
        if job["id"] in self._held:
            logger.warning(
                "job %s was delivered again while in flight: answering it once", job["id"]
            )
            self._again[job["id"]] = job
            return False
        self._held.add(job["id"])
        return True

    def _let_go(self, job_id: str, task: asyncio.Task[None]) -> None:
        """Restart a stopped job that had been delivered again meanwhile: a client's retry."""
        self._held.discard(job_id)
        again = self._again.pop(job_id, None)
        if again and task.cancelled():
            self._held.add(job_id)
            self.job_progress.add(again)
            self.jobs_queue.put_nowait(again)

    async def run_jobs(self, session: Any) -> None:
        """Run until the last job is done, even one that a pending poll brings after SIGTERM."""
        running: set[asyncio.Task[None]] = set()
        taken_all = asyncio.create_task(self._taken_all.wait())
        while not self._taken_all.is_set() or not self.jobs_queue.empty():
            arrival = asyncio.create_task(self.jobs_queue.get())
            await asyncio.wait({arrival, taken_all}, return_when=asyncio.FIRST_COMPLETED)
            if not arrival.done():
                arrival.cancel()
                continue
            self._start(session, arrival.result(), running)
            self._start_waiting(session, running)
        while running:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            self._start_waiting(session, running)  # jobs that begin anew

    def _start_waiting(self, session: Any, running: set[asyncio.Task[None]]) -> None:
        """All at once: the engine then takes jobs that came together into the same steps."""
        while not self.jobs_queue.empty():
            self._start(session, self.jobs_queue.get_nowait(), running)

    def _start(self, session: Any, job: dict[str, Any], running: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(self.handle_job(session, job))
        getattr(self, "jobs_tasks", {})[job["id"]] = task  # before 1.10 no job could be stopped
        running.add(task)
        task.add_done_callback(partial(self._let_go, job["id"]))
        task.add_done_callback(running.discard)
        task.add_done_callback(_seen)


def _seen(task: asyncio.Task[None]) -> None:
    """The SDK has logged how a job ended; asyncio need not do it again with a traceback."""
    if not task.cancelled():
        task.exception()
