"""A worker with a fake engine on the real SDK, with our job loop or, with `sdk`, the SDK's own.

Prints a line when a job begins and when it ends. A job's prompt is the seconds until
each word, and how many words there are if more than one.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator

from tests.support.fake_engine import FakeEngine
from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.protocol import Delta, RequestContext
from vllm_worker.errors import EngineDead
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.observability.stderr_log import log_to_stderr
from vllm_worker.serverless import job_loop
from vllm_worker.serverless.fitness import fitness_checks
from vllm_worker.serverless.queue import Queue
from vllm_worker.serverless.run import run
from vllm_worker.worker import Worker


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class SleepingEngine(FakeEngine):
    """Sleeps until it is given up."""

    def __init__(self) -> None:
        super().__init__()
        self.marked_dead = asyncio.Event()

    def mark_dead(self) -> None:
        super().mark_dead()
        self.marked_dead.set()

    async def generate(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Delta]:
        say("begins")
        try:
            seconds, _, words = (job.prompt or "0").partition(" ")
            for left in reversed(range(int(words or 1))):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.marked_dead.wait(), float(seconds))
                    raise EngineDead
                yield Delta(0, ["done"], 1, 1, None if left else "stop")
        finally:
            say("ends")


if __name__ == "__main__":
    log_to_stderr()
    if sys.argv.pop() == "sdk":
        job_loop.sdk_difference = lambda: "JobScaler is gone"
    with fitness_checks(on_runpod=False):
        run(Worker(load_settings(os.environ), SleepingEngine()), Queue(lambda: None))
