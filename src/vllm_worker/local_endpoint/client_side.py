"""The client's side: run, runsync, status, stream, cancel, retry, purge-queue, health."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job, JobPolicy
from vllm_worker.web.requests import (
    LONGEST_NUMBER,
    RequestError,
    json_response,
    parse_json,
    query_number,
    read_body,
    while_connected,
)


class ClientSide:
    """The client's routes. Every answer is JSON; an error is `{"error": "a sentence"}`."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._limits = queue.limits

    def routes(self) -> list[Route]:
        """The routes, relative to `/v2/{endpoint}` or to the root."""
        either = ["GET", "POST"]
        return [
            Route("/run", self.run, methods=["POST"]),
            Route("/runsync", self.runsync, methods=["POST"]),
            Route("/status/{job_id}", self.status, methods=either),
            Route("/stream/{job_id}", self.stream, methods=either),
            Route("/cancel/{job_id}", self.cancel, methods=["POST"]),
            Route("/retry/{job_id}", self.retry, methods=["POST"]),
            Route("/purge-queue", self.purge, methods=["POST"]),
            Route("/health", self.health, methods=["GET"]),
        ]

    async def run(self, request: Request) -> Response:
        """Queue a job and answer at once."""
        body = await read_body(request, self._limits.run_bytes)
        return _brief(self._submit(request, body, self._limits.run_retention_s))

    async def runsync(self, request: Request) -> Response:
        """Queue a job and answer at its end, or after `wait` ms with the state it has then."""
        wait_ms = query_number(request, "wait")
        wait_s = self._limits.runsync_wait_s if wait_ms is None else wait_ms / 1000
        wait_s = min(wait_s, self._limits.runsync_wait_max_s)
        body = await read_body(request, self._limits.runsync_bytes)
        job = self._submit(request, body, self._limits.runsync_retention_s, prefix="sync-")
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await job.end()
        return json_response(job.view())

    async def status(self, request: Request) -> Response:
        """The job as it is now; with `ttl` in the query it is kept for that many ms at most."""
        job = self._job(request)
        if (ttl_ms := query_number(request, "ttl")) is not None:
            self._queue.expire_in(job, ttl_ms / 1000)
        return json_response(job.view())

    async def stream(self, request: Request) -> Response:
        """The chunks not returned before; waits shortly for one, so that polling is slow."""
        job = self._job(request)
        await request.body()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.stream_hold_s):
                await while_connected(request.receive, job.wait_for_update())
        chunks = [{"output": chunk} for chunk in job.take_chunks()]
        return json_response({"status": job.status, "stream": chunks})

    async def cancel(self, request: Request) -> Response:
        """End a job, wherever it is; a final one stays as it is."""
        job = self._job(request)
        self._queue.cancel(job, "the job was cancelled")
        return _brief(job)

    async def retry(self, request: Request) -> Response:
        """Queue a failed job again."""
        job = self._job(request)
        self._queue.retry(job)
        return _brief(job)

    async def purge(self, request: Request) -> Response:
        """Cancel all jobs that wait in the queue."""
        return json_response({"removed": self._queue.purge(), "status": "completed"})

    async def health(self, request: Request) -> Response:
        """Jobs and workers, counted."""
        return json_response(self._queue.health())

    def _job(self, request: Request) -> Job:
        return self._queue.find(request.path_params["job_id"])

    def _submit(self, request: Request, body: bytes, retention_s: float, prefix: str = "") -> Job:
        content = parse_json(body)
        if not isinstance(content, dict) or "input" not in content:
            raise RequestError(400, 'the body must be a JSON object with an "input"')
        terms = self._terms(content, retention_s)
        if (ttl_ms := query_number(request, "ttl")) is not None:
            terms = replace(terms, ttl_s=ttl_ms / 1000)
        return self._queue.submit(content["input"], terms, prefix)

    def _terms(self, content: dict[str, Any], retention_s: float) -> JobPolicy:
        policy = content.get("policy") or {}
        if not isinstance(policy, dict):
            raise RequestError(400, '"policy" must be an object')
        webhook = content.get("webhook") or None
        if not (webhook is None or isinstance(webhook, str)):
            raise RequestError(400, '"webhook" must be a URL')
        return JobPolicy(
            execution_timeout_s=_seconds(
                policy, "executionTimeout", self._limits.execution_timeout_s
            ),
            ttl_s=_seconds(policy, "ttl", self._limits.ttl_s),
            retention_s=retention_s,
            webhook=webhook,
        )


def _brief(job: Job) -> Response:
    return json_response({"id": job.id, "status": job.status})


def _seconds(policy: dict[str, Any], name: str, default_s: float) -> float:
    milliseconds = policy.get(name)
    if milliseconds is None:
        return default_s
    if type(milliseconds) is not int or not 0 < milliseconds < 10**LONGEST_NUMBER:
        raise RequestError(400, f'"policy.{name}" must be a positive number of milliseconds')
    return milliseconds / 1000
