"""The worker's side, as the SDK calls it: rp_job, rp_http, rp_scale, rp_ping (1.12.0).

A late post (unknown job, final job, another worker's job) is answered 200: the SDK logs every
4xx as an error and repeats a post after every 5xx. For the same reason a post that has had its
effect is never answered with an error, so a repeated one cannot be a chunk the clients have.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job
from vllm_worker.local_endpoint.workers import Worker
from vllm_worker.web.requests import (
    RequestError,
    json_response,
    parse_json,
    query_number,
    while_connected,
)


class WorkerSide:
    """The worker's routes. A poll without news is answered 204."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._limits = queue.limits

    def routes(self) -> list[Route]:
        """The routes, relative to `/v2/{endpoint}`; the most frequent ones first."""
        return [
            Route("/job-stream/{worker_id}/{job_id}", self.job_stream, methods=["POST"]),
            Route("/job-done/{worker_id}/{job_id}", self.job_done, methods=["POST"]),
            Route("/job-take/{worker_id}", self.job_take, methods=["GET"]),
            Route("/job-take-batch/{worker_id}", self.job_take_batch, methods=["GET"]),
            Route("/job-stop/{worker_id}", self.job_stop, methods=["GET"]),
            Route("/ping/{worker_id}", self.ping, methods=["GET"]),
        ]

    async def job_stream(self, request: Request) -> Response:
        """One chunk: `{"output": X}`."""
        body = await _worker_body(request)
        worker = self._worker(request)
        self._queue.add_chunk(worker.id, request.path_params["job_id"], body.get("output"))
        return json_response({})

    async def job_done(self, request: Request) -> Response:
        """The end of a job: `{"output": X}` or `{"error": "…"}`."""
        body = await _worker_body(request)
        worker, job_id = self._worker(request), request.path_params["job_id"]
        self._queue.finish(worker.id, job_id, body.get("output"), body.get("error"))
        return json_response({})

    async def job_take(self, request: Request) -> Response:
        """One job, as an object."""
        jobs = await self._take(request, 1)
        return json_response(jobs[0]) if jobs else Response(status_code=204)

    async def job_take_batch(self, request: Request) -> Response:
        """As many jobs as are waiting, at most `batch_size`, as a list."""
        batch_size = query_number(request, "batch_size")
        if batch_size == 0:
            raise RequestError(400, '"batch_size" must be a positive number')
        jobs = await self._take(request, batch_size or 1)
        return json_response(jobs) if jobs else Response(status_code=204)

    async def job_stop(self, request: Request) -> Response:
        """The jobs of this worker that it should stop, as soon as there is one."""
        worker = self._worker(request)
        if not worker.stops:
            await self._hold(request, worker.stop_arrived.wait())
        # The poll was a sign of life as long as it lasted.
        stops = self._worker(request).take_stops()
        return json_response({"jobsToStop": stops}) if stops else Response(status_code=204)

    async def ping(self, request: Request) -> Response:
        """The heartbeat. Its `job_id` list is not needed: the queue knows who holds what."""
        self._worker(request)
        return json_response({})

    def _worker(self, request: Request) -> Worker:
        return self._queue.seen(request.path_params["worker_id"])

    async def _take(self, request: Request, limit: int) -> list[dict[str, Any]]:
        worker = self._worker(request)
        jobs = self._queue.take(worker.id, limit)
        if not jobs:
            await self._hold(request, self._queue.job_waiting())
            # Nothing may be awaited from here to the answer, so that a worker that has
            # disconnected is not given a job.
            jobs = self._queue.take(worker.id, limit)
        return [_as_taken(job) for job in jobs]

    async def _hold(self, request: Request, news: Coroutine[Any, Any, Any]) -> None:
        """Keep a poll waiting for news. Raises ClientDisconnect when the worker goes."""
        if self._queue.closing:
            news.close()
            news = asyncio.sleep(self._limits.closing_hold_s)
        await request.body()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.poll_hold_s):
                await while_connected(request.receive, news)


def _as_taken(job: Job) -> dict[str, Any]:
    taken = {"id": job.id, "input": job.input}
    return taken | ({"batchId": job.batch_id} if job.batch_id else {})


async def _worker_body(request: Request) -> dict[str, Any]:
    """The JSON that the SDK posts under a form's content type."""
    content = parse_json(await request.body())
    if not isinstance(content, dict):
        raise RequestError(400, "the body must be a JSON object")
    return content
