"""The client of RunPod's own SDK on the local endpoint."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import runpod
from runpod.endpoint import runner

from tests.support.endpoint_fakes import FakeWorker


@pytest.fixture
def live_endpoint(live_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[runpod.Endpoint]:
    monkeypatch.setattr(runpod, "endpoint_url_base", live_url.removesuffix("/local"))
    # The client sleeps a second before each look at a stream.
    monkeypatch.setattr(runner, "time", SimpleNamespace(sleep=lambda seconds: None))
    endpoint = runpod.Endpoint("local", api_key="local")
    yield endpoint
    endpoint.rp_client.rp_session.close()


async def count(job_input: dict) -> AsyncIterator[Any]:
    for n in range(job_input["to"]):
        yield {"n": n}


async def test_the_sdks_client(
    live_endpoint: runpod.Endpoint, live_worker: FakeWorker, live: httpx.AsyncClient, serving: Any
) -> None:
    def use_without_worker() -> None:
        waiting = live_endpoint.run({"to": 1})
        assert waiting.status() == "IN_QUEUE"
        assert waiting.cancel(timeout=30) == {"id": waiting.job_id, "status": "CANCELLED"}
        assert waiting.status() == "CANCELLED"
        live_endpoint.run({"to": 1})
        assert live_endpoint.health(timeout=30)["jobs"]["inQueue"] == 1
        assert live_endpoint.purge_queue() == {"removed": 1, "status": "completed"}

    def use() -> None:
        expected = [{"n": 0}, {"n": 1}]
        assert live_endpoint.run_sync({"to": 2}, timeout=5) == expected
        job = live_endpoint.run({"input": {"to": 2}})
        assert list(job.stream()) == expected
        assert job.output() == expected
        assert live_endpoint.health(timeout=30)["jobs"]["completed"] == 2

    await asyncio.to_thread(use_without_worker)
    async with serving(live_worker, count):
        await asyncio.to_thread(use)
