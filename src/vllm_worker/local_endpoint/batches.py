"""Batches: many jobs under one id, which wait until the batch is finalized.

RunPod's batch API, by its documentation. A batch is forgotten after two days.
"""

import time
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import Job, JobPolicy, Status
from vllm_worker.web.requests import (
    RequestError,
    json_response,
    parse_json,
    query_number,
    read_body,
)

_PAGE = 50


class BatchStatus(StrEnum):
    """There is none for the end of the work: then all requests are completed or have failed."""

    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"
    CANCELLED = "CANCELLED"


@dataclass(eq=False, slots=True)
class Batch:
    """Requests by id: the job's input, and in a finalized batch its job."""

    id: str
    endpoint: str
    name: str | None
    created_ms: int
    status: BatchStatus = BatchStatus.DRAFT
    inputs: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def add(self, inputs: list[Any]) -> None:
        self.inputs |= {f"req_{uuid.uuid4()}": job_input for job_input in inputs}

    def summary(self) -> dict[str, Any]:
        """The batch as clients see it; cancelled requests count in the total only."""
        states = [job.status for job in self.jobs.values()]
        failed = states.count(Status.FAILED) + states.count(Status.TIMED_OUT)
        if self.status is not BatchStatus.CANCELLED:
            failed += states.count(Status.CANCELLED)  # one by one, or with the whole queue
        summary: dict[str, Any] = {
            "id": self.id,
            "endpointId": self.endpoint,
            "status": self.status,
            "requestTotal": len(self.jobs or self.inputs),
            "requestInProgress": states.count(Status.IN_PROGRESS),
            "requestCompleted": states.count(Status.COMPLETED),
            "requestFailed": failed,
            "createdAt": self.created_ms,
        }
        return summary | ({"name": self.name} if self.name else {})

    def requests(self) -> list[dict[str, Any]]:
        """Each request as /status shows a job; those of a draft have no status yet."""
        if not self.jobs:
            return [{"id": request_id} for request_id in self.inputs]
        return [job.view() | {"id": request_id} for request_id, job in self.jobs.items()]


class Batches:
    """The routes of batches. Every answer is JSON; an error is `{"error": "a sentence"}`."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._batches: dict[str, Batch] = {}
        limits = queue.limits
        self._policy = JobPolicy(limits.execution_timeout_s, limits.ttl_s, limits.ttl_s)

    def routes(self) -> list[Route]:
        """The routes, relative to `/v2/{endpoint}` or to the root."""
        one = "/batch/{batch_id}"
        return [
            Route("/batch", self.create, methods=["POST"]),
            Route("/batch", self.list, methods=["GET"]),
            Route(one, self.read, methods=["GET"]),
            Route(one, self.update, methods=["PUT"]),
            Route(f"{one}/requests", self.append, methods=["POST"]),
            Route(f"{one}/requests", self.requests, methods=["GET"]),
            Route(f"{one}/requests/{{request_id}}", self.remove, methods=["DELETE"]),
            Route(f"{one}/finalize", self.finalize, methods=["POST"]),
            Route(f"{one}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """A draft, perhaps with requests in it."""
        content = await self._content(request)
        name = content.get("name") if isinstance(content, dict) else None
        inputs = _inputs(content)
        endpoint = request.path_params.get("endpoint", "local")
        batch = Batch(f"batch_{uuid.uuid4()}", endpoint, _name(name), round(time.time() * 1000))
        batch.add(inputs)
        self._batches[batch.id] = batch
        self._queue.later(2 * self._policy.ttl_s, self._batches.pop, batch.id, None)
        return json_response({"id": batch.id, "status": batch.status})

    async def list(self, request: Request) -> Response:
        """Summaries, newest first."""
        batches = [batch.summary() for batch in reversed(self._batches.values())]
        return json_response({"batches": batches})

    async def read(self, request: Request) -> Response:
        """One summary."""
        return json_response(self._batch(request).summary())

    async def update(self, request: Request) -> Response:
        """Change the name."""
        content = await self._content(request)
        batch = self._batch(request)
        if isinstance(content, dict) and "name" in content:
            batch.name = _name(content["name"])
        return json_response(batch.summary())

    async def append(self, request: Request) -> Response:
        """More requests for a draft."""
        inputs = _inputs(await self._content(request))
        batch = self._draft(request)
        batch.add(inputs)
        return json_response(batch.summary())

    async def requests(self, request: Request) -> Response:
        """A page of the requests with their results."""
        requests = self._batch(request).requests()
        offset = query_number(request, "offset") or 0
        limit = query_number(request, "limit") or _PAGE
        return json_response(
            {
                "requests": requests[offset : offset + limit],
                "total": len(requests),
                "offset": offset,
                "limit": limit,
                "hasMore": offset + limit < len(requests),
            }
        )

    async def remove(self, request: Request) -> Response:
        """Take a request out of a draft."""
        batch = self._draft(request)
        request_id = request.path_params["request_id"]
        if request_id not in batch.inputs:
            raise RequestError(404, f"no request with the id {request_id}")
        del batch.inputs[request_id]
        return json_response(batch.summary())

    async def finalize(self, request: Request) -> Response:
        """Queue the jobs of a draft."""
        batch = self._draft(request)
        for request_id, job_input in batch.inputs.items():
            job = self._queue.submit(job_input, self._policy, batch_id=batch.id)
            batch.jobs[request_id] = job
        batch.inputs.clear()
        batch.status = BatchStatus.FINALIZED
        return json_response(batch.summary())

    async def cancel(self, request: Request) -> Response:
        """Cancel the jobs that no worker has taken; the others finish."""
        batch = self._batch(request)
        for job in batch.jobs.values():
            if job.status is Status.IN_QUEUE:
                self._queue.cancel(job, "the batch was cancelled")
        if not batch.jobs or not all(job.final for job in batch.jobs.values()):
            batch.status = BatchStatus.CANCELLED
            batch.inputs.clear()
        return json_response(batch.summary())

    async def _content(self, request: Request) -> Any:
        return parse_json(await read_body(request, self._queue.limits.run_bytes))

    def _batch(self, request: Request) -> Batch:
        batch_id = request.path_params["batch_id"]
        if batch := self._batches.get(batch_id):
            return batch
        raise RequestError(404, f"no batch with the id {batch_id}")

    def _draft(self, request: Request) -> Batch:
        batch = self._batch(request)
        if batch.status is not BatchStatus.DRAFT:
            raise RequestError(
                409, f"only a DRAFT batch can be changed; this one is {batch.status}"
            )
        return batch


def _inputs(content: Any) -> list[Any]:
    requests = content.get("requests") if isinstance(content, dict) else content
    if isinstance(content, dict) and content.keys() <= {"name"}:
        requests = []  # a draft, to be filled later
    if not isinstance(requests, list):
        raise RequestError(400, "the body must be a list of requests, or have one as `requests`")
    if not all(isinstance(each, dict) and "input" in each for each in requests):
        raise RequestError(400, 'each request must be a JSON object with an "input"')
    return [each["input"] for each in requests]


def _name(name: Any) -> str | None:
    if name is None or isinstance(name, str):
        return name
    raise RequestError(400, '"name" must be a text')
