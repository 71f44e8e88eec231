"""The worker: what happens to a job, and the worker's own life."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from math import inf
from typing import Any

import msgspec

from vllm_worker.configuration.settings import Settings
from vllm_worker.engine.protocol import Engine, RequestContext
from vllm_worker.errors import EngineDead, EngineFailure, JobError, ShuttingDown, TooLarge
from vllm_worker.jobs.inputs import NativeJob, parse_job, streams_natively
from vllm_worker.observability.job_log import JobLog, JobRecord, error_location
from vllm_worker.observability.metrics import Metrics
from vllm_worker.observability.timeline import step
from vllm_worker.routes import native, openai
from vllm_worker.routes.allowlist import open_route

logger = logging.getLogger(__name__)

_DEATH_CHECK_S = 0.25
_PING_S = 1.0
_DRAIN_S = 5.0
"""Time to post the answers to the last jobs when a worker ends suddenly."""

_TOO_LARGE = (
    "The output of this job is larger than {:,} bytes, the most that RunPod accepts "
    "(MAX_OUTPUT_BYTES). Ask for fewer tokens, choices or log-probabilities."
)


class Worker:
    """Answers jobs with an engine."""

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self._ready = asyncio.Event()
        self.engine = engine
        self._jobs: set[asyncio.Task[Any]] = set()
        self._log = JobLog()
        self._metrics = metrics or Metrics()
        self._summary: asyncio.Task[None] | None = None
        self.exit_code = 0
        """Of the process; 1 when the engine has died."""
        self.shutting_down = False
        self._grace_is_over = False

    async def start(self) -> None:
        """Get the engine ready in this event loop. The worker accepts jobs when this returns."""
        with step("vLLM's application built and warmed up"):
            await self.engine.start()
        self._summary = asyncio.create_task(self._log.summarise())
        self._metrics.watch(self._jobs)
        self._ready.set()

    @property
    def ready(self) -> bool:
        """Whether the worker accepts jobs."""
        return self._ready.is_set()

    @property
    def dead(self) -> bool:
        """Whether the engine is gone for good."""
        return self.engine.dead

    @property
    def jobs_in_flight(self) -> int:
        """Number of jobs that have begun and not ended."""
        return len(self._jobs)

    @property
    def max_concurrency(self) -> int:
        """The number of jobs that it may hold at a time."""
        return self.settings.max_concurrency or self.engine.capacity

    def summary(self, url: str = "") -> str:
        """What is served in one line, and where: `url` is "" for RunPod's queue."""
        engine = self.engine
        return (
            f"{', '.join(self.settings.served_model_names)}: {engine.context_length:,} tokens of "
            f"context, {engine.capacity:,} requests of that length at once"
        ) + (f"; OpenAI's base URL is {url}/v1, and {url}/ says more" if url else "")

    async def until_ready(self) -> None:
        """Wait until the worker accepts jobs."""
        await self._ready.wait()

    async def handle(self, job: dict[str, Any]) -> AsyncGenerator[Any]:
        """The outputs of one RunPod job; a failure is an output `{"error": JSON text}`.

        Never raises, since the SDK would send the client a traceback.
        """
        record = self.begin(str(job.get("id")))
        failure: JobError | None = None
        try:
            if self.engine.dead:
                raise EngineDead
            async with aclosing(self._answer(job, record)) as outputs:
                room = self.settings.max_output_bytes
                async for output in outputs:
                    room -= _size(output)
                    if room < 0:
                        raise TooLarge(_TOO_LARGE.format(self.settings.max_output_bytes))
                    record.chunks += 1
                    yield output
            record.outcome = "completed"
        except JobError as error:
            failure = error
        except Exception as error:
            failure = unexpected(error)
        if failure:
            failure = self.failure(record, failure)
            if streams_natively(job.get("input")):
                yield failure.as_chunk()
            yield failure.as_output()

    def shut_down(self) -> None:
        """Give the jobs in flight SHUTDOWN_GRACE_S to finish; a second call ends them at once."""
        if self.shutting_down:
            self._grace_is_over = True
            return
        self.shutting_down = True
        asyncio.get_running_loop().call_later(self.settings.shutdown_grace_s, self.shut_down)

    async def wait_for_end(self) -> None:
        """Wait until the process has to end even with jobs in flight, which fail from then on.

        That is when the engine is dead, has not answered for too long while jobs wait, or when the
        jobs have had their time since `shut_down`.
        """
        pinging = asyncio.create_task(self._until_stalled())
        try:
            # vLLM offers a flag, not an event.
            while not (self.engine.dead or self._grace_is_over):  # noqa: ASYNC110
                await asyncio.sleep(_DEATH_CHECK_S)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
        if not self._grace_is_over:
            logger.error("the engine has died: failing the jobs in flight, then exiting")
            self.exit_code = 1
            return
        logger.warning(
            "shutdown grace is over (SHUTDOWN_GRACE_S): failing %d jobs", len(self._jobs)
        )
        self.engine.mark_dead()

    async def _until_stalled(self) -> None:
        """Mark the engine dead when it does not answer in time."""
        limit = self.settings.engine_stall_timeout_s
        while True:
            await asyncio.sleep(_PING_S)
            if not self._jobs:
                continue
            try:
                if not await self._answers_in_time(limit or inf):
                    log = "no answer from the engine for %g s (ENGINE_STALL_TIMEOUT_S)"
                    logger.error(log, limit)
                    break
            except Exception as error:
                logger.error("the engine cannot be asked: %s", error_location(error))
                break
        self.engine.mark_dead()

    async def _answers_in_time(self, limit: float) -> bool:
        """Whether the engine answers a ping within so many seconds.

        The clock goes on while the platform has all processes frozen, so that time does not count,
        and the engine has another moment after it.
        """
        ping = asyncio.ensure_future(self.engine.ping())
        try:
            while limit > 0 and not ping.done():
                begun, pause = time.monotonic(), min(_PING_S, limit)
                await asyncio.wait({ping}, timeout=pause)
                frozen = time.monotonic() - begun > pause + _PING_S
                limit -= 0 if frozen else pause
            return ping.done() and ping.result() is None
        finally:
            ping.cancel()

    async def drain(self) -> None:
        """Wait until the jobs in flight are answered, up to a limit."""
        # Two looks apart, for jobs that the SDK has taken but not yet started.
        for _ in range(2):
            await asyncio.sleep(_DEATH_CHECK_S)
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=_DRAIN_S / 2)

    async def _answer(self, job: dict[str, Any], record: JobRecord) -> AsyncGenerator[Any]:
        request = parse_job(job.get("input"))
        context = RequestContext(record.job_id, usage=record)
        outputs: AsyncIterator[Any]
        if isinstance(request, NativeJob):
            record.kind = "native"
            outputs = native.answer(request, context, self.engine, self.settings)
        else:
            record.kind = "no open route"
            record.kind = route = open_route(
                request.path, self.settings.vllm_allow_runtime_lora_updating
            )
            outputs = openai.answer(request, route, context, self.engine, self.settings)
        async for output in outputs:
            yield output

    def failure(self, record: JobRecord, error: JobError) -> JobError:
        """The error for the client; an error that is not the client's fault is logged as well."""
        if error.code >= 500:
            logger.error(
                "job %s failed: %s", record.job_id, error_location(error.__cause__ or error)
            )
            if self.engine.dead:
                error = ShuttingDown() if self._grace_is_over else EngineDead()
        record.fail(error.code)
        return error

    def begin(self, job_id: str) -> JobRecord:
        """A job that the current task answers, and which ends with it.

        With RunPod's queue it is the SDK's task, which also covers the posting of the outputs.
        """
        record = JobRecord(job_id, self.settings.served_model_names[0])
        if task := asyncio.current_task():
            self._jobs.add(task)
            task.add_done_callback(self._jobs.discard)
            task.add_done_callback(lambda task: self._log.end(record, task.cancelled()))
            task.add_done_callback(lambda _: self._metrics.count(record))
        return record


def unexpected(error: Exception) -> EngineFailure:
    """What a client is told of an error that nobody foresaw."""
    failure = EngineFailure("The worker failed on this job. Its log says where.")
    failure.__cause__ = error
    return failure


def _size(output: Any) -> int:
    """At most so many bytes when the SDK has written it, with spaces after commas and colons."""
    encoded = msgspec.json.encode(output)
    return len(encoded) + encoded.count(b",") + encoded.count(b":") + len(", ")
