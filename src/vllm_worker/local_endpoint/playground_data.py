"""What the playground shows of the local endpoint: its jobs, and what its worker says of itself."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job, excerpt
from vllm_worker.playground.files import ABOUT, PREFIX, file_response
from vllm_worker.web.requests import RequestError, json_response, parse_json, read_body

MOST_JOBS = 100
MOST_TEXT = 2000
"""Characters of an input or an output in the list; a job has all of it."""
MOST_REPORT = 4 * 1024**2
"""Bytes of what a worker says of itself, which is mostly metrics."""


class PlaygroundData:
    """The routes under /playground, the files among them."""

    def __init__(self, queue: JobQueue, endpoint_id: str) -> None:
        self._queue = queue
        self._endpoint_id = endpoint_id
        self._worker: Mapping[str, Any] = {"ready": False}
        self._heard = 0.0

    def routes(self) -> list[Route]:
        """The routes, relative to the root."""
        return [
            Route(ABOUT, self.about, methods=["GET"]),
            Route(f"{PREFIX}jobs.json", self.jobs, methods=["GET"]),
            Route(f"{PREFIX}worker.json", self.worker, methods=["GET"]),
            Route(f"{PREFIX}worker", self.report, methods=["POST"]),
            Route(PREFIX + "{name:path}", self.file, methods=["GET"]),
        ]

    async def about(self, request: Request) -> Response:
        """Which door the page is at."""
        return json_response({"door": "local", "endpoint": self._endpoint_id})

    async def jobs(self, request: Request) -> Response:
        """The newest jobs first, with the beginning of what went in and came out."""
        now = asyncio.get_running_loop().time()
        listed = [_listed(job, now) for job in self._queue.newest(MOST_JOBS)]
        workers = self._queue.health()["workers"]
        return json_response({"jobs": listed, "counts": self._queue.counts(), "workers": workers})

    async def worker(self, request: Request) -> Response:
        """What the worker said last, and how many seconds ago that was.

        A worker that did not start this endpoint says nothing, and counts all the same.
        """
        age_s = asyncio.get_running_loop().time() - self._heard if self._heard else None
        alive = sum(self._queue.health()["workers"].values())
        return json_response({**self._worker, "age_s": age_s, "alive": alive})

    async def report(self, request: Request) -> Response:
        """The worker's report; it comes once a second."""
        if request.headers.get("content-type") != "application/json":
            # A page from elsewhere cannot send this type without being asked for permission.
            raise RequestError(415, "the body must be application/json")
        said = parse_json(await read_body(request, MOST_REPORT))
        if not isinstance(said, dict):
            raise RequestError(400, "the body must be a JSON object")
        self._worker, self._heard = said, asyncio.get_running_loop().time()
        return json_response({})

    async def file(self, request: Request) -> Response:
        """One of the page's files."""
        return file_response(request, request.path_params["name"])


def _listed(job: Job, now: float) -> dict[str, Any]:
    """Both are cut without being written as JSON first, which takes long for a long one."""
    return {
        **job.view(),
        "age_s": now - job.created,
        "input": excerpt(job.input if job.shown is None else job.shown, MOST_TEXT),
        "output": excerpt(job.output if job.output is not None else job.chunks or None, MOST_TEXT),
        "error": excerpt(job.error, MOST_TEXT),
    }
