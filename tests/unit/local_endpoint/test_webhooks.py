"""The final result is posted to the job's webhook."""

import asyncio
import json

import httpx
import pytest

from tests.support.endpoint_fakes import FakeWorker, ManualClock
from vllm_worker.local_endpoint import webhooks
from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue


class Receiver:
    """Answers one post after the other with the statuses given, and keeps the bodies."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.posted: list[bytes] = []
        self.all_posted = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.posted.append(request.content)
        status = self.statuses.pop(0)
        if not self.statuses:
            self.all_posted.set()
        return httpx.Response(status)


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> webhooks.Webhooks:
    monkeypatch.setattr(webhooks, "RETRY_DELAYS_S", (0.0, 0.0))
    return webhooks.Webhooks()


@pytest.mark.parametrize("statuses", [(200,), (500, 200), (500, 404, 500)])
async def test_the_result_is_posted_until_it_is_accepted(
    hooks: webhooks.Webhooks, statuses: list[int], worker_log: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(*statuses)
    transport = httpx.MockTransport(receiver)
    hooks.__dict__["_client"] = httpx.AsyncClient(transport=transport)
    app = create_app(JobQueue(clock=ManualClock(), on_end=hooks))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://x/v2/local"
    ) as client:
        job = {"input": {}, "webhook": "http://receiver/hook?key=a-secret"}
        job_id = (await client.post("run", json=job)).json()["id"]
        assert receiver.posted == []
        worker = FakeWorker(client, "w")
        await worker.take()
        await worker.done(job_id, output="result")
        async with asyncio.timeout(1):
            await receiver.all_posted.wait()
        await asyncio.gather(*hooks._sending)
        result = (await client.get(f"status/{job_id}")).json()
    assert [json.loads(body) for body in receiver.posted] == [result] * len(statuses)
    assert worker_log.messages == [
        f"webhook of job {job_id}: status {status}" for status in statuses if status != 200
    ]
