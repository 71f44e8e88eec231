"""RunPod's operations on an endpoint: run, runsync, stream, status, cancel, retry, health."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from vllm_worker.client.endpoint import Endpoint
from vllm_worker.client.errors import ClientError, errors_explained, late, refusal, said_in

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
POLL_S = 1.0
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
_HELD_S = 100.0
"""For how long a server may hold a request before it answers that nothing has changed."""

Job = dict[str, Any]
"""A job as the endpoint shows it: id, status, delayTime and executionTime (ms), output, error."""


class Queue:
    """The operations. Each raises ClientError for an answer that is an error."""

    def __init__(self, endpoint: Endpoint, client: "httpx.Client", timeout_s: float = 600) -> None:
        self.endpoint = endpoint
        self._client = client
        self._timeout_s = timeout_s

    def run(self, job_input: Any) -> Job:
        """Queue a job."""
        return self._ask("POST", "/run", {"input": job_input})

    def run_sync(self, job_input: Any) -> Job:
        """Queue a job and wait until it has ended. One that no worker has taken in time, or that
        nobody waits for any more, is cancelled.
        """
        asked = time.monotonic()
        job = self._ask("POST", "/runsync", {"input": job_input})
        if job.get("status", "COMPLETED") in FINAL:  # a door without a queue says nothing of it
            return job
        try:
            for state in self.watch(job):
                waits = state["status"] == "IN_QUEUE"
                if waits and time.monotonic() - asked > self._timeout_s:
                    raise late(self.endpoint.url)
        except BaseException:
            self.abandon(job["id"])
            raise
        return state

    def watch(self, job: Job) -> Iterator[Job]:
        """The job as it is each time it is asked for, first often and then each second."""
        yield job
        for pause_s in chain((0.1, 0.2, 0.4), repeat(POLL_S)):
            if job["status"] in FINAL:
                return
            time.sleep(pause_s)
            job = self.status(job["id"])
            yield job

    def status(self, job_id: str) -> Job:
        """The job as it is now."""
        return self._ask("GET", f"/status/{job_id}")

    def stream(self, job_id: str) -> Iterator[Any]:
        """The outputs of a job as they come, until it has ended."""
        while True:
            asked = time.monotonic()
            answer = self._ask("GET", f"/stream/{job_id}")
            parts = answer.get("stream") or []
            for part in parts:
                yield part.get("output")
            if answer["status"] in FINAL and not parts:
                return
            if not parts and time.monotonic() - asked < POLL_S / 2:
                time.sleep(POLL_S)  # of a server that does not hold the request itself

    def cancel(self, job_id: str) -> Job:
        """End a job, wherever it is."""
        return self._ask("POST", f"/cancel/{job_id}")

    def abandon(self, job_id: str) -> None:
        """The same, of a job whose asker has something else to say."""
        with suppress(Exception):
            self.cancel(job_id)

    def retry(self, job_id: str) -> Job:
        """Queue a job again that has failed."""
        return self._ask("POST", f"/retry/{job_id}")

    def purge(self) -> int:
        """Remove all jobs that wait. Returns their number."""
        return int(self._ask("POST", "/purge-queue").get("removed", 0))

    def health(self) -> dict[str, Any]:
        """Jobs and workers, counted."""
        return self._ask("GET", "/health")

    def call_route(self, route: str, body: dict[str, Any] | None = None) -> Any:
        """What a route of vLLM's server answers: at its own path, else by a job. Without a body
        it is read from.
        """
        if not self.endpoint.is_queue:
            method = "GET" if body is None else "POST"
            response = self._client.request(method, self.endpoint.url + route, json=body)
            if response.status_code != 404:
                return self._content(response)
        job = {"openai_route": route} | ({} if body is None else {"openai_input": body})
        return output_of(self.run_sync(job))

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        response = self._client.request(method, self.endpoint.url + path, json=body)
        content = self._content(response)
        if not isinstance(content, dict):
            raise ClientError(f"{response.url} answered something else than a job")
        return content

    def _content(self, response: "httpx.Response") -> Any:
        if response.status_code == 204:  # as a worker's own door says until it is ready
            raise ClientError(f"the worker at {self.endpoint.url} is still starting")
        try:
            content = response.json()
        except ValueError:
            content = response.text
        if response.is_error:
            wait = response.headers.get("retry-after")
            raise refusal(response.status_code, content, str(response.url), wait)
        if isinstance(content, str):
            raise ClientError(f"{response.url} answered something else than JSON")
        return content


@contextmanager
def queue_of(endpoint: Endpoint, timeout_s: float) -> Iterator[Queue]:
    """The operations of an endpoint's queue; errors inside become a ClientError."""
    import httpx  # takes time, which `--help` need not wait for

    timeout = httpx.Timeout(max(timeout_s, _HELD_S), connect=min(timeout_s, CONNECT_TIMEOUT_S))
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    with errors_explained(endpoint.url), httpx.Client(timeout=timeout, headers=headers) as client:
        yield Queue(endpoint, client, timeout_s)


def output_of(job: Job) -> Any:
    """A job's output. Raises ClientError when it did not complete."""
    status = job.get("status", "COMPLETED")
    if status != "COMPLETED":
        reason = said_in(job.get("error")) or said_in(job.get("output")) or "no reason given"
        raise ClientError(f"job {job.get('id')} is {status}: {reason}")
    output = job.get("output", job)
    # All that a job has yielded, which for most is one thing.
    return output[0] if isinstance(output, list) and len(output) == 1 else output
