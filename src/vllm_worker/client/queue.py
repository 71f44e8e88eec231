"""RunPod's operations on an endpoint: run, runsync, stream, status, cancel, retry, health."""

import time
from collections.abc import Iterator, Sequence
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

AGAIN_S = (0.5, 1.0, 2.0)
"""After which a question that failed is asked again."""

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
        return _job(self._ask("POST", "/run", {"input": job_input}))

    def run_sync(self, job_input: Any) -> Job:
        """Queue a job and wait until it has ended. One that no worker has taken in time, or that
        nobody waits for any more, is cancelled.
        """
        job = self._ask("POST", "/runsync", {"input": job_input}, held=True)
        if job.get("status", "COMPLETED") in FINAL:  # a door without a queue says nothing of it
            return job
        try:
            for state in self.watch_own(job):
                job = state
        except BaseException:
            self.abandon(job["id"])
            raise
        return job

    def watch(self, job: Job) -> Iterator[Job]:
        """The job as it is each time it is asked for, first often and then each second."""
        yield job
        for pause_s in chain((0.1, 0.2, 0.4), repeat(POLL_S)):
            if job["status"] in FINAL:
                return
            time.sleep(pause_s)
            job = self.status(job["id"])
            yield job

    def watch_own(self, job: Job) -> Iterator[Job]:
        """The same of a job that somebody waits for. Raises ClientError when no worker takes it in
        time.
        """
        asked = time.monotonic()
        for state in self.watch(job):
            self._check_wait(state, asked)
            yield state

    def status(self, job_id: str) -> Job:
        """The job as it is now. A platform that stumbles is asked again."""
        return _job(self._ask("GET", f"/status/{job_id}", pauses_s=AGAIN_S))

    def stream(self, job_id: str) -> Iterator[Any]:
        """The outputs of a job as they come, until it has ended. Raises ClientError when no worker
        takes it in time.
        """
        begun = time.monotonic()
        while True:
            asked = time.monotonic()
            answer = self._ask("GET", f"/stream/{job_id}", held=True)
            parts = answer.get("stream") or []
            for part in parts:
                yield part.get("output")
            if _job({"id": job_id} | answer)["status"] in FINAL and not parts:
                return
            self._check_wait(answer, begun)
            if not parts and time.monotonic() - asked < POLL_S / 2:
                time.sleep(POLL_S)  # of a server that does not hold the request itself

    def cancel(self, job_id: str) -> Job:
        """End a job, wherever it is."""
        return _job(self._ask("POST", f"/cancel/{job_id}"))

    def abandon(self, job_id: str) -> bool:
        """The same, of a job whose asker has something else to say. Returns whether it worked."""
        with suppress(Exception):
            self.cancel(job_id)
            return True
        return False

    def retry(self, job_id: str) -> Job:
        """Queue a job again that has failed."""
        return _job(self._ask("POST", f"/retry/{job_id}"))

    def purge(self) -> int:
        """Remove all jobs that wait. Returns their number."""
        removed = self._ask("POST", "/purge-queue").get("removed")
        if not isinstance(removed, int):
            raise ClientError(f"{self.endpoint.url} does not say how many jobs it has removed")
        return removed

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

    def _check_wait(self, job: Job, since: float) -> None:
        if job["status"] == "IN_QUEUE" and time.monotonic() - since > self._timeout_s:
            raise late(self.endpoint.url)

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        held: bool = False,
        pauses_s: Sequence[float] = (),
    ) -> dict[str, Any]:
        """With `held`, the server may take its time until something happens. With pauses, what is
        only read is asked for again after each, when the server cannot answer.
        """
        response = self._request(method, path, body, held, [*pauses_s])
        content = self._content(response)
        if not isinstance(content, dict):
            raise ClientError(f"{response.url} answered something else than a job")
        return content

    def _request(
        self, method: str, path: str, body: Any, held: bool, pauses_s: list[float]
    ) -> "httpx.Response":
        import httpx

        longer: dict[str, Any] = {"timeout": max(self._timeout_s, _HELD_S)} if held else {}
        while True:
            try:
                response = self._client.request(
                    method, self.endpoint.url + path, json=body, **longer
                )
                if response.status_code < 500 or not pauses_s:
                    return response
            except httpx.TransportError:
                if not pauses_s:
                    raise
            time.sleep(pauses_s.pop(0))

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

    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    with errors_explained(endpoint.url), httpx.Client(timeout=timeout, headers=headers) as client:
        yield Queue(endpoint, client, timeout_s)


def _job(content: Job) -> Job:
    """Raises ClientError for what is no job."""
    if not all(isinstance(content.get(name), str) for name in ("id", "status")):
        raise ClientError(said_in(content) or "the endpoint answered something else than a job")
    return content


def output_of(job: Job) -> Any:
    """A job's output. Raises ClientError when it did not complete."""
    status = job.get("status", "COMPLETED")
    if status != "COMPLETED":
        reason = said_in(job.get("error")) or said_in(job.get("output")) or "no reason given"
        raise ClientError(f"job {job.get('id')} is {status}: {reason}")
    output = job.get("output", job)
    # All that a job has yielded, which for most is one thing.
    return output[0] if isinstance(output, list) and len(output) == 1 else output
