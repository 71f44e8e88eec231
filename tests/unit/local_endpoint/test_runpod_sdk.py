"""RunPod's own SDK on both ends: its client, and its worker loop in a process of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
import runpod
from runpod.endpoint import runner

from tests.support.endpoint_fakes import FakeWorker
from vllm_worker.local_endpoint import EndpointProcess, start

WORKER = """
import asyncio, json, runpod

async def handler(job):
    body = job["input"].get("openai_input", job["input"])
    if body.get("fail"):
        yield {"error": json.dumps({"message": "bad", "code": 422})}
        return
    yield "data: 1\\n\\n"
    await asyncio.sleep(body.get("sleep", 0))
    yield "data: 2\\n\\n"

runpod.serverless.start({
    "handler": handler,
    "return_aggregate_stream": True,
    "concurrency_modifier": lambda current: 4,
})
"""


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


@pytest.fixture
def endpoint_and_worker() -> Iterator[Any]:
    endpoint = start("127.0.0.1", 0)
    environment = {**os.environ, **endpoint.environment, "RUNPOD_LOG_LEVEL": "ERROR"}
    worker = subprocess.Popen([sys.executable, "-c", WORKER], env=environment)
    yield endpoint, worker
    worker.kill()
    worker.wait()
    endpoint.stop()


def test_the_sdks_worker(
    endpoint_and_worker: tuple[EndpointProcess, subprocess.Popen[bytes]],
) -> None:
    endpoint, worker = endpoint_and_worker
    with (
        httpx.Client(base_url=endpoint.url, timeout=10, verify=False) as http,
        openai.OpenAI(base_url=f"{endpoint.url}/openai/v1", api_key="x", max_retries=0) as client,
    ):
        result = http.post("/runsync", json={"input": {}}).json()
        assert (result["status"], result["output"]) == ("COMPLETED", ["data: 1\n\n", "data: 2\n\n"])
        assert result["workerId"] == endpoint.environment["RUNPOD_POD_ID"]
        with pytest.raises(openai.UnprocessableEntityError, match="bad"):
            client.completions.create(model="m", prompt="p", extra_body={"fail": True})

        job = http.post("/run", json={"input": {"sleep": 60}}).json()["id"]
        while not http.get(f"/stream/{job}").json()["stream"]:
            pass
        http.post(f"/cancel/{job}")
        # The worker exits when its jobs have ended and its polls are answered.
        endpoint.close()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(4) == 0
