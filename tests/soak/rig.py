"""RunPod's side of a soak, and the worker under it."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from starlette.types import Receive, Scope, Send

from tests.soak.plan import ADAPTER
from tests.support.adapters import make_adapter
from tests.support.threaded_server import serving
from tests.support.worker_process import WorkerProcess, requests_and_tasks, running_worker
from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job, Status
from vllm_worker.local_endpoint.process import worker_environment

_IDLE_S = 32
_LOOKS = 20
_POST_S = 0.01
"""How long RunPod takes for a chunk, so that jobs are also cancelled while one is posted."""


class Platform:
    """RunPod's queue, which notes how jobs end. A chunk of a `doomed` job cancels the job."""

    def __init__(self) -> None:
        self.ends: dict[str, list[Status]] = defaultdict(list)
        self.doomed: set[str] = set()
        self.cancelled_in_mid_post = 0
        self._queue = JobQueue(on_end=self._note)
        self._app = create_app(self._queue)

    def _note(self, job: Job) -> None:
        self.ends[job.id].append(job.status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "/job-stream/" in scope["path"]:
            job_id = scope["path"].rpartition("/")[2]
            if job_id in self.doomed:
                self.doomed.discard(job_id)
                self.cancelled_in_mid_post += 1
                self._queue.cancel(self._queue.find(job_id), "in the middle of a post")
                await asyncio.sleep(0.1)  # the stop arrives before the post is answered
            await asyncio.sleep(_POST_S)
        await self._app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a worker holds while it has no job: `requests` in the engine's frontend and core,
    `tasks` of its event loop, `files` open in its process, `memory` in bytes.
    """

    requests: tuple[int, int]
    tasks: int
    files: int
    memory: int


class Rig:
    """`url` is the platform's."""

    def __init__(
        self, url: str, platform: Platform, worker: WorkerProcess, inspect_socket: Path
    ) -> None:
        self.url = url
        self.platform = platform
        self.worker = worker
        self._inspect_socket = inspect_socket

    def holdings(self) -> Holdings:
        frontend, core, tasks = requests_and_tasks(self._inspect_socket)
        process = psutil.Process(self.worker.process.pid)
        with process.oneshot():
            return Holdings((frontend, core), tasks, process.num_fds(), process.memory_info().rss)

    def settled(self, files: int = 0) -> Holdings:
        """What the worker holds when its idle connections are closed, or no more than `files` open.

        aiohttp closes a connection that was idle for 15 s, and looks every 15 s. Of the tasks, the
        fewest of several looks: polls and pings come and go.
        """
        deadline = time.monotonic() + _IDLE_S
        while (holdings := self.holdings()).files > files and time.monotonic() < deadline:
            time.sleep(1)
        tasks = []
        for _ in range(_LOOKS):
            tasks.append(self.holdings().tasks)
            time.sleep(0.2)
        return replace(holdings, tasks=min(tasks))


@contextmanager
def running_rig(folder: Path, max_concurrency: int) -> Iterator[Rig]:
    """A worker with an adapter, on the real SDK; files go to `folder`."""
    make_adapter(folder / ADAPTER)
    inspect_socket = folder / "inspect"
    platform = Platform()
    with serving(platform) as url:
        environment = worker_environment(url) | {
            "INSPECT_SOCKET": str(inspect_socket),
            "DISABLE_LOG_STATS": "0",
            "LORA_MODULES": json.dumps([{"name": ADAPTER, "path": str(folder / ADAPTER)}]),
            "MAX_CONCURRENCY": str(max_concurrency),
            "STREAM_MAX_DELAY_MS": "500",
            # Or the model may write spaces between the parts of a value to its last token.
            "STRUCTURED_OUTPUTS_CONFIG": '{"disable_any_whitespace": true, "backend": "xgrammar"}',
            # So that an answer does not depend on what else is in its batch.
            "DTYPE": "float32",
        }
        with running_worker(environment, "tests/support/inspectable_handler.py") as worker:
            yield Rig(url, platform, worker, inspect_socket)
