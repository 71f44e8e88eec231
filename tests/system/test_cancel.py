"""Whatever ends a job, its request in the engine ends too."""

import asyncio
import time
from collections.abc import Callable

import openai
import runpod

from tests.support.stream_gate import StreamGate
from tests.support.waiting import eventually

ENDLESS = {
    "prompt": "RunPod is",
    "stream": True,
    "sampling_params": {"max_tokens": 2000, "ignore_eos": True},
}
GONE_S = 4
"""Well before the endless job would have ended by itself."""
PATIENCE_S = 30
"""The SDK waits 3 s for an answer, less than a busy machine may need once in a thousand runs."""

Held = Callable[[], tuple[int, int]]


def test_a_job_that_is_cancelled_while_it_generates(
    runpod_endpoint: runpod.Endpoint, requests_held: Held
) -> None:
    job = runpod_endpoint.run(ENDLESS | {"stream": False})
    eventually(lambda: requests_held() == (1, 1))
    assert job.cancel(timeout=PATIENCE_S)["status"] == "CANCELLED"
    eventually(lambda: requests_held() == (0, 0), timeout=GONE_S)
    assert job.status() == "CANCELLED"


def test_a_job_that_is_cancelled_as_soon_as_it_is_taken(
    runpod_endpoint: runpod.Endpoint, requests_held: Held
) -> None:
    job = runpod_endpoint.run(ENDLESS | {"stream": False})
    eventually(lambda: job.status() == "IN_PROGRESS")
    job.cancel(timeout=PATIENCE_S)
    time.sleep(0.5)  # by now the SDK has begun it
    eventually(lambda: requests_held() == (0, 0), timeout=GONE_S)


def test_a_job_that_is_cancelled_while_a_chunk_is_being_posted(
    runpod_endpoint: runpod.Endpoint, requests_held: Held, gate: StreamGate
) -> None:
    gate.shut, gate.held = True, 0
    try:
        job = runpod_endpoint.run(ENDLESS)
        eventually(lambda: gate.held == 1)
        assert requests_held() == (1, 1)
        job.cancel(timeout=PATIENCE_S)
        eventually(lambda: requests_held() == (0, 0), timeout=GONE_S)
    finally:
        gate.shut = False


def test_a_client_that_disconnects(client: openai.OpenAI, requests_held: Held) -> None:
    stream = client.completions.create(
        model="demo", prompt="x", max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    assert requests_held() == (1, 1)
    stream.close()
    eventually(lambda: requests_held() == (0, 0), timeout=GONE_S)


async def test_a_client_that_gives_up_waiting(client: openai.OpenAI, requests_held: Held) -> None:
    # Given up by hand: a time limit could pass on a busy machine before the job has begun.
    async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none", max_retries=0) as asker:
        answer = asyncio.create_task(
            asker.completions.create(
                model="demo", prompt="x", max_tokens=2000, extra_body={"ignore_eos": True}
            )
        )
        await asyncio.to_thread(eventually, lambda: requests_held() == (1, 1))
        answer.cancel()
        await asyncio.to_thread(eventually, lambda: requests_held() == (0, 0), timeout=GONE_S)
