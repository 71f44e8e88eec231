"""RunPod's side of a worker, in the benchmark's own process: jobs go in and chunks are timed."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job, JobPolicy, Status
from vllm_worker.local_endpoint.process import worker_environment
from vllm_worker.local_endpoint.server import EndpointServer
from vllm_worker.serverless.fitness import NO_CHECKS
from vllm_worker.web.listener import listen

_TERMS = JobPolicy(execution_timeout_s=600, ttl_s=600, retention_s=1)


@dataclass
class Answer:
    """When a job was given out, and when its chunks came, in seconds of one clock."""

    begun: float
    chunks: list[float] = field(default_factory=list)
    ended: float = 0.0


class TimedQueue(JobQueue):
    """Notes when each chunk of each job is posted."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}

    def add_chunk(self, worker_id: str, job_id: str, chunk: Any) -> None:
        if answer := self.answers.get(job_id):
            answer.chunks.append(time.perf_counter())
        super().add_chunk(worker_id, job_id, chunk)


class Platform:
    """A queue that a worker can be pointed at with `environment`.

    `latency` in seconds is added to every request that posts a chunk.
    """

    def __init__(self, queue: TimedQueue, url: str) -> None:
        self._queue = queue
        self.environment = worker_environment(url) | NO_CHECKS  # other workers have none
        self.latency = 0.0
        self.posts = 0
        self.asked = asyncio.Event()
        """Whether a worker has asked for a job."""

    async def ask(self, job_input: Any) -> tuple[Answer, Job]:
        """A job, from its submission to its end."""
        answer = Answer(time.perf_counter())
        job = self._queue.submit(job_input, _TERMS)
        self._queue.answers[job.id] = answer
        await job.end()
        answer.ended = time.perf_counter()
        assert job.status is Status.COMPLETED, (job.status, job.error)
        return answer, job

    def close(self) -> None:
        """Gives out no more jobs, so that a worker ends without waiting for its poll."""
        self._queue.close()

    def slowed(self, app: Any) -> Any:
        """The endpoint's application, with the latency of a platform that is far away."""

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            if "/job-take" in scope.get("path", ""):
                self.asked.set()
            if "/job-stream/" in scope.get("path", ""):
                self.posts += 1
                await asyncio.sleep(self.latency)
            await app(scope, receive, send)

        return slow


@asynccontextmanager
async def running_platform() -> AsyncIterator[Platform]:
    """A platform that serves until the block ends."""
    with listen("127.0.0.1", 0) as listener:
        queue = TimedQueue()
        platform = Platform(queue, f"http://127.0.0.1:{listener.getsockname()[1]}")
        server = EndpointServer(queue)
        server.config.app = platform.slowed(server.config.app)
        serving = asyncio.create_task(_serve(server, listener))
        try:
            yield platform
        finally:
            platform.close()
            server.should_exit = True
            await serving


async def _serve(server: EndpointServer, listener: socket.socket) -> None:
    # Without uvicorn's signal handlers: Ctrl-C ends the benchmark.
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    await server.main_loop()
    await server.shutdown(sockets=[listener])
