"""The in-memory queue: every transition of a job, and the timers that bound its life.

All of it runs in one event loop and never awaits inside a transition, so nothing is locked.
"""

import asyncio
import json
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from vllm_worker.local_endpoint.errors import openai_error
from vllm_worker.local_endpoint.jobs import Job, JobPolicy, Status, Timer, excerpt
from vllm_worker.local_endpoint.limits import Limits
from vllm_worker.local_endpoint.workers import Worker, Workers
from vllm_worker.web.requests import RequestError

CLOSING = "the endpoint is closing"
_SHOWN = 1000
"""Characters of an input that are kept when it is used up."""


class Clock(Protocol):
    """The part of an event loop the queue uses, so that a test can bring its own time."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer: ...


class LoopClock:
    """The running event loop, looked up when used: the queue is made before its loop runs."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback, *args)


class JobQueue:
    """The jobs of one endpoint. `on_end` is called with each job that has become final."""

    def __init__(
        self,
        limits: Limits | None = None,
        clock: Clock | None = None,
        on_end: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.limits = limits or Limits()
        self.closing = False
        self._clock = clock or LoopClock()
        self._on_end = on_end
        self._jobs: dict[str, Job] = {}
        self._waiting: OrderedDict[str, Job] = OrderedDict()  # IN_QUEUE, oldest first
        self._job_arrived = asyncio.Event()  # set while a job is waiting, or when closing
        self._workers = Workers(self._clock.time, self.limits.worker_silence_s)
        self._ended: Counter[Status] = Counter()
        self._retried = 0

    # Clients

    def submit(
        self, job_input: Any, policy: JobPolicy, prefix: str = "", batch_id: str | None = None
    ) -> Job:
        """Queue a new job. Raises RequestError (503) when the endpoint is closing."""
        if self.closing:
            raise RequestError(503, CLOSING)
        now = self._clock.time()
        job = Job(f"{prefix}{uuid.uuid4()}", job_input, policy, now, batch_id)
        self._jobs[job.id] = job
        self._enqueue(job)
        return job

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        """Call something by the queue's clock."""
        self._clock.call_later(seconds, call, *arguments)

    def find(self, job_id: str) -> Job:
        """The job with this id. Raises RequestError (404) when unknown or expired."""
        job = self._jobs.get(job_id)
        if job is None:
            raise RequestError(404, f"no job with the id {job_id}")
        return job

    def newest(self, most: int) -> list[Job]:
        """The jobs that were submitted last, the newest first."""
        return list(islice(reversed(self._jobs.values()), most))

    def counts(self) -> dict[str, int]:
        """Jobs by their state, the final ones since the endpoint's start."""
        in_progress = self._workers.jobs_in_progress()
        now = {Status.IN_QUEUE: len(self._waiting), Status.IN_PROGRESS: in_progress}
        return {status: now.get(status, self._ended[status]) for status in Status}

    def expire_in(self, job: Job, seconds: float) -> None:
        """Change how long the job is kept, from now on."""
        ttl_s = self._clock.time() - job.created + seconds
        job.policy = replace(job.policy, ttl_s=ttl_s)
        self._set_timer(job)

    def cancel(self, job: Job, reason: str) -> None:
        """End a job that is not final; a worker that holds it is told to stop."""
        if not job.final:
            self._end(job, Status.CANCELLED, error=reason)

    def retry(self, job: Job) -> None:
        """Queue a failed job again. Raises RequestError: 409 in another state, 503 closing."""
        if job.status not in (Status.FAILED, Status.TIMED_OUT):
            raise RequestError(
                409, f"only FAILED and TIMED_OUT jobs can be retried; this one is {job.status}"
            )
        if self.closing:
            raise RequestError(503, CLOSING)
        job.created, job.started, job.finished = self._clock.time(), None, None
        job.worker_id, job.output, job.error = None, None, None
        job.chunks.clear()
        self._retried += 1
        self._enqueue(job)

    def purge(self) -> int:
        """Cancel every job that no worker has taken; how many there were."""
        waiting = list(self._waiting.values())
        for job in waiting:
            self.cancel(job, "the queue was purged")
        return len(waiting)

    def health(self) -> dict[str, dict[str, int]]:
        """/health: jobs ended since the start, jobs now, workers now."""
        jobs = {
            "completed": self._ended[Status.COMPLETED],
            "failed": self._ended[Status.FAILED] + self._ended[Status.TIMED_OUT],
            "inProgress": self._workers.jobs_in_progress(),
            "inQueue": len(self._waiting),
            "retried": self._retried,
        }
        return {"jobs": jobs, "workers": self._workers.counts()}

    # Workers

    def seen(self, worker_id: str) -> Worker:
        """Note a sign of life."""
        return self._workers.seen(worker_id)

    async def job_waiting(self) -> None:
        """Wait until there is a job to take, or the endpoint closes."""
        while not (self._waiting or self.closing):
            await self._job_arrived.wait()

    def take(self, worker_id: str, limit: int) -> list[Job]:
        """Give a worker the oldest waiting jobs, at most `limit`, perhaps none."""
        worker = self._workers.seen(worker_id)
        taken: list[Job] = []
        while self._waiting and len(taken) < limit:
            _, job = self._waiting.popitem(last=False)
            self._begin(job, worker)
            taken.append(job)
        if not self._waiting and not self.closing:
            self._job_arrived.clear()
        return taken

    def add_chunk(self, worker_id: str, job_id: str, chunk: Any) -> None:
        """Keep an output for the clients; without effect when the worker does not hold the job."""
        if job := self._held(worker_id, job_id):
            job.begun = True
            if not job.batch_id:  # nobody streams it, and its result has them all
                job.chunks.append(chunk)
            job.notify()

    def finish(self, worker_id: str, job_id: str, output: Any, error: Any) -> None:
        """End a job as its worker reports it; without effect when it does not hold the job."""
        job = self._held(worker_id, job_id)
        if job is None:
            return
        if error:
            text = error if isinstance(error, str) else json.dumps(error)
            self._end(job, Status.FAILED, output=output, error=text)
        else:
            self._end(job, Status.COMPLETED, output=output)

    # Life

    def close(self) -> None:
        """Take no more jobs and give none out; let the ones in progress finish."""
        if self.closing:
            return
        self.closing = True
        error = json.dumps(openai_error(503, CLOSING))
        for job in list(self._waiting.values()):
            self._end(job, Status.FAILED, error=error)
        self._job_arrived.set()
        self._workers.release_polls()

    def _held(self, worker_id: str, job_id: str) -> Job | None:
        # A late post must not touch the retry of the same job on another worker.
        job = self._jobs.get(job_id)
        if job is None or job.final or job.worker_id != worker_id:
            return None
        return job

    def _enqueue(self, job: Job) -> None:
        job.status = Status.IN_QUEUE
        self._waiting[job.id] = job
        self._job_arrived.set()
        self._set_timer(job)

    def _begin(self, job: Job, worker: Worker) -> None:
        job.status, job.begun = Status.IN_PROGRESS, False
        job.worker_id = worker.id
        job.started = self._clock.time()
        worker.jobs.add(job.id)
        worker.stops.discard(job.id)  # meant for an earlier try
        self._set_timer(job)

    def _time_out(self, job: Job, limit: str) -> None:
        self._end(job, Status.TIMED_OUT, error=f"the job exceeded its {limit}")

    def _expire(self, job: Job) -> None:
        """Forget a job, in whatever state; who waits for it is told that it timed out."""
        if not job.final:
            self._time_out(job, "ttl")
        if job.timer is not None:
            job.timer.cancel()
        self._jobs.pop(job.id, None)

    def _end(
        self, job: Job, status: Status, *, output: Any = None, error: str | None = None
    ) -> None:
        job.status, job.output, job.error = status, output, error
        job.finished = self._clock.time()
        self._waiting.pop(job.id, None)
        if status in (Status.COMPLETED, Status.CANCELLED):
            job.input, job.shown = None, excerpt(job.input, _SHOWN)
        if worker := self._workers.get(job.worker_id):
            worker.jobs.discard(job.id)
            if status in (Status.CANCELLED, Status.TIMED_OUT):
                self._stop(worker, job)
        self._ended[status] += 1
        self._set_timer(job)
        job.notify()
        self._on_end(job)

    def _stop(self, worker: Worker, job: Job) -> None:
        """Tell the worker to stop the job, but not before it can have started it."""
        early = (job.started or 0) + self.limits.pick_up_s - self._clock.time()
        if early > 0 and not job.begun:
            self._clock.call_later(early, worker.stop, job.id)
        else:
            worker.stop(job.id)

    def _set_timer(self, job: Job) -> None:
        """Start the timer for the job's next deadline."""
        if job.timer is not None:
            job.timer.cancel()
        policy = job.policy
        deadlines: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = [
            (job.created + policy.ttl_s, self._expire, (job,))
        ]
        if job.finished is not None:
            deadlines.append((job.finished + policy.retention_s, self._expire, (job,)))
        elif job.started is not None:
            end = job.started + policy.execution_timeout_s
            deadlines.append((end, self._time_out, (job, "executionTimeout")))
        when, callback, arguments = min(deadlines, key=lambda deadline: deadline[0])
        delay = max(0.0, when - self._clock.time())
        job.timer = self._clock.call_later(delay, callback, *arguments)
