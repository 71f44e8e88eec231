"""A clock that tests set, and a worker that speaks the SDK's side of the protocol."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

Handler = Callable[[dict[str, Any]], AsyncIterator[Any]]


@dataclass
class ManualTimer:
    due: float
    callback: Callable[..., object]
    args: tuple[Any, ...]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class ManualClock:
    """Satisfies `job_queue.Clock`; time passes in `advance` only."""

    now: float = 1000.0
    timers: list[ManualTimer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ManualTimer:
        timer = ManualTimer(self.now + delay, callback, args)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer.cancelled]
            due = [timer for timer in self.timers if timer.due <= end]
            if not due:
                break
            first = min(due, key=lambda timer: timer.due)
            self.timers.remove(first)
            self.now = first.due
            first.callback(*first.args)
        self.now = end


class FakeWorker:
    """What rp_job.py and rp_http.py send, without their loop. `client` ends in /v2/{endpoint}."""

    def __init__(self, client: httpx.AsyncClient, worker_id: str) -> None:
        self.client = client
        self.id = worker_id

    async def take(self, batch_size: int = 8) -> list[dict[str, Any]]:
        query = f"gpu=local&batch_size={batch_size}&job_in_progress=0"
        answer = await self.client.get(f"job-take-batch/{self.id}?{query}")
        return [] if answer.status_code == 204 else answer.json()

    async def stream(self, job_id: str, output: Any) -> httpx.Response:
        return await self._post(f"job-stream/{self.id}/{job_id}", {"output": output}, "false")

    async def done(self, job_id: str, **result: Any) -> httpx.Response:
        return await self._post(f"job-done/{self.id}/{job_id}", result, "true")

    async def stops(self) -> list[str]:
        answer = await self.client.get(f"job-stop/{self.id}?gpu=local")
        return [] if answer.status_code == 204 else answer.json()["jobsToStop"]

    async def serve(self, handler: Handler) -> None:
        """Work until cancelled. A yielded `{"error": …}` fails the job, as in the SDK."""
        while True:
            for job in await self.take():
                await self._work(job, handler)

    async def _work(self, job: dict[str, Any], handler: Handler) -> None:
        outputs = []
        async for output in handler(job["input"]):
            if isinstance(output, dict) and "error" in output:
                await self.done(job["id"], error=output["error"])
                return
            outputs.append(output)
            await self.stream(job["id"], output)
        await self.done(job["id"], output=outputs)

    async def _post(self, path: str, body: dict[str, Any], is_stream: str) -> httpx.Response:
        return await self.client.post(
            f"{path}?gpu=local&isStream={is_stream}",
            content=json.dumps(body, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
