"""RunPod's side of a soak, and the worker under it."""

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
from starlette.types import Receive, Scope, Send

from tests.soak.clients import Client, HTTPClient, Played, Player
from tests.soak.plan import ADAPTER, FATES, HTTP_FATES
from tests.support.adapters import make_adapter
from tests.support.http_worker import http_worker, wait_for_status
from tests.support.threaded_server import serving
from tests.support.worker_process import WorkerProcess, requests_and_tasks, running_worker
from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job, Status
from vllm_worker.local_endpoint.process import worker_environment

_HANDLER = "tests/support/inspectable_handler.py"
_IDLE_S = 32
_LOG_S = 10
"""Time for the last lines of the log."""
_POLL_S = 6
"""The SDK asks for jobs to stop in a task of its own: 5 s, as the local endpoint holds a poll, of
each 6.
"""
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
    the functions that the `tasks` of its event loop run, `files` open in its process, `memory` in
    bytes.
    """

    requests: tuple[int, int]
    tasks: list[str]
    files: int
    memory: int


class Rig:
    """A worker that is asked at `base_url`, and what it holds."""

    fates = FATES

    def __init__(self, base_url: str, worker: WorkerProcess, inspect_socket: Path) -> None:
        self.base_url = base_url
        self.worker = worker
        self._inspect_socket = inspect_socket

    def client(self, http: httpx.AsyncClient) -> "Player":
        raise NotImplementedError

    def wrong_ends(self, played: list[Played]) -> list[str]:
        """A line for each job that did not end exactly once."""
        raise NotImplementedError

    def ends(self) -> str:
        """How the jobs ended, for people."""
        raise NotImplementedError

    def holdings(self) -> Holdings:
        requests, tasks = requests_and_tasks(self._inspect_socket)
        process = psutil.Process(self.worker.process.pid)
        with process.oneshot():
            return Holdings(requests, tasks, process.num_fds(), process.memory_info().rss)

    def settled(self, files: int = 0) -> Holdings:
        """What the worker holds when its idle connections are closed, or no more than `files` open.

        aiohttp closes a connection that was idle for 15 s, and looks every 15 s. Of the tasks, the
        fewest of many looks, over more than a poll: polls and pings come and go.
        """
        deadline = time.monotonic() + _IDLE_S
        while (holdings := self.holdings()).files > files and time.monotonic() < deadline:
            time.sleep(1)
        looks, began = [holdings.tasks], time.monotonic()
        while time.monotonic() < began + 1.5 * _POLL_S:
            time.sleep(0.2)
            looks.append(self.holdings().tasks)
        return replace(holdings, tasks=min(looks, key=len))


class QueueRig(Rig):
    """Jobs come from a platform's queue."""

    def __init__(
        self, url: str, platform: Platform, worker: WorkerProcess, inspect_socket: Path
    ) -> None:
        super().__init__(f"{url}/v2/local", worker, inspect_socket)
        self._platform = platform

    def client(self, http: httpx.AsyncClient) -> Player:
        return Client(http, self._platform.doomed)

    def wrong_ends(self, played: list[Played]) -> list[str]:
        ends = self._platform.ends
        return [f"job {job_id} ended {len(how)} times: {how}" for job_id, how in ends.items()
                if len(how) != 1]  # fmt: skip

    def ends(self) -> str:
        ends = Counter(str(end) for how in self._platform.ends.values() for end in how)
        return (f"{dict(sorted(ends.items()))}, {self._platform.cancelled_in_mid_post} of them "
                "cancelled in the middle of a post")  # fmt: skip


class HTTPRig(Rig):
    """Jobs are HTTP requests; a job's line in the log is its end."""

    fates = HTTP_FATES

    def client(self, http: httpx.AsyncClient) -> Player:
        return HTTPClient(http)

    def wrong_ends(self, played: list[Played]) -> list[str]:
        answered = {one.job_id for one in played if one.job_id}
        deadline = time.monotonic() + _LOG_S
        while answered - {job_id for job_id, _ in self._ended()} and time.monotonic() < deadline:
            time.sleep(0.1)  # a client has its answer before the line is read
        lines = Counter(job_id for job_id, _ in self._ended())
        wrong = [
            f"job {job_id} ended {count} times" for job_id, count in lines.items() if count > 1
        ]
        wrong += [f"job {job_id} has no line in the log" for job_id in answered - lines.keys()]
        if len(lines) > len(played):
            wrong.append(f"{len(lines)} jobs ended of {len(played)} that were sent")
        return wrong

    def ends(self) -> str:
        return str(dict(sorted(Counter(how for _, how in self._ended()).items())))

    def _ended(self) -> list[tuple[str, str]]:
        return re.findall(r"job (http-\S+): .*, ([^,\n]+)$", self.worker.log, re.M)


def _settings(folder: Path, max_concurrency: int) -> dict[str, str]:
    make_adapter(folder / ADAPTER)
    return {
        "INSPECT_SOCKET": str(folder / "inspect"),
        "DISABLE_LOG_STATS": "0",
        "LORA_MODULES": json.dumps([{"name": ADAPTER, "path": str(folder / ADAPTER)}]),
        "MAX_CONCURRENCY": str(max_concurrency),
        "STREAM_MAX_DELAY_MS": "500",
        # Or the model may write spaces between the parts of a value to its last token.
        "STRUCTURED_OUTPUTS_CONFIG": '{"disable_any_whitespace": true, "backend": "xgrammar"}',
        # So that an answer does not depend on what else is in its batch.
        "DTYPE": "float32",
    }


@contextmanager
def running_rig(folder: Path, max_concurrency: int) -> Iterator[Rig]:
    """A worker with an adapter, on the real SDK; files go to `folder`."""
    settings = _settings(folder, max_concurrency)
    platform = Platform()
    with (
        serving(platform) as url,
        running_worker(worker_environment(url) | settings, _HANDLER) as worker,
    ):
        yield QueueRig(url, platform, worker, folder / "inspect")


@contextmanager
def running_http_rig(folder: Path, max_concurrency: int) -> Iterator[Rig]:
    """The same in http mode."""
    worker, url = http_worker(_HANDLER, **_settings(folder, max_concurrency))
    try:
        wait_for_status(worker, url, 200)
        yield HTTPRig(url, worker, folder / "inspect")
    finally:
        worker.stop()
