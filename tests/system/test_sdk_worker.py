"""A plain worker of RunPod's own SDK on the local endpoint, as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from vllm_worker.local_endpoint import EndpointProcess, start
from vllm_worker.serverless.fitness import NO_CHECKS

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
def endpoint_and_worker() -> Iterator[Any]:
    endpoint = start("127.0.0.1", 0)
    environment = os.environ | endpoint.environment | NO_CHECKS | {"RUNPOD_LOG_LEVEL": "ERROR"}
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
