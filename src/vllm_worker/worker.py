"""The worker: what happens to a job, and the worker's own life."""

import asyncio
import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from vllm_worker import native_route, openai_route
from vllm_worker.errors import EngineDead, EngineFailure, JobError
from vllm_worker.interface import Engine
from vllm_worker.jobs import NativeJob, parse_job
from vllm_worker.settings import Settings
from vllm_worker.startup import step

logger = logging.getLogger(__name__)

_DEATH_CHECK_S = 0.25
_LAST_ANSWERS_S = 5.0
"""How long the answers to the last jobs may take to be posted once the engine is dead."""


class Worker:
    """Answers jobs with an engine."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self._ready = asyncio.Event()
        self._engine = engine
        self._jobs: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Gets the engine ready in this event loop. Jobs may come when it returns."""
        with step("vLLM's application built and warmed up"):
            await self._engine.start()
        self._ready.set()

    @property
    def ready(self) -> bool:
        """Whether jobs may come."""
        return self._ready.is_set()

    async def until_ready(self) -> None:
        """Returns when jobs may come."""
        await self._ready.wait()

    async def handle(self, job: dict[str, Any]) -> AsyncGenerator[Any]:
        """The outputs of one RunPod job; a failure is an output `{"error": JSON text}`.

        Never raises, since the SDK would send the client a traceback.
        """
        self._remember_current_task()
        try:
            async with aclosing(self._answer(job)) as outputs:
                async for output in outputs:
                    yield output
        except JobError as error:
            yield self._failure(job, error).as_output()
        except Exception as error:
            failure = EngineFailure("The worker failed at this job. Its log says where.")
            failure.__cause__ = error
            yield self._failure(job, failure).as_output()

    async def wait_for_death(self) -> None:
        """Returns when the engine is dead."""
        while not self._engine.dead:  # noqa: ASYNC110 (vLLM offers a flag, not an event)
            await asyncio.sleep(_DEATH_CHECK_S)

    async def last_answers(self) -> None:
        """Returns when the jobs in flight are answered, or that takes too long."""
        # Two looks apart, for jobs that the SDK has taken but not yet started.
        for _ in range(2):
            await asyncio.sleep(_DEATH_CHECK_S)
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=_LAST_ANSWERS_S / 2)

    async def _answer(self, job: dict[str, Any]) -> AsyncGenerator[Any]:
        request, job_id = parse_job(job.get("input")), str(job["id"])
        outputs: AsyncIterator[Any]
        if isinstance(request, NativeJob):
            outputs = native_route.answer(request, job_id, self._engine, self.settings)
        else:
            outputs = openai_route.answer(request, job_id, self._engine, self.settings)
        async for output in outputs:
            yield output

    def _failure(self, job: dict[str, Any], error: JobError) -> JobError:
        """What the client is told; what is not the client's mistake is logged as well."""
        if error.code < 500:
            return error
        logger.error("job %s failed: %s", job.get("id"), _place(error.__cause__ or error))
        return EngineDead() if self._engine.dead else error

    def _remember_current_task(self) -> None:
        """The SDK's task for the job, which also covers the posting of its outputs."""
        if task := asyncio.current_task():
            self._jobs.add(task)
            task.add_done_callback(self._jobs.discard)


def _place(error: BaseException) -> str:
    """The kind of an error and where it came from, without its text, which may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} in {last.name} ({Path(last.filename).name}:{last.lineno})"
