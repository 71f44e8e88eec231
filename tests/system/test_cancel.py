"""Whatever ends a job, its request in the engine ends too."""

import threading
import time
from collections.abc import Callable

import openai
import runpod

from tests.system.conftest import eventually
from tests.system.stream_gate import StreamGate

ENDLESS = {
    "prompt": "RunPod is",
    "stream": True,
    "sampling_params": {"max_tokens": 2000, "ignore_eos": True},
}
GONE_S = 2

Held = Callable[[], tuple[int, int]]


def test_a_job_that_is_cancelled_while_it_generates(
    runpod_endpoint: runpod.Endpoint, requests_held: Held
) -> None:
    job = runpod_endpoint.run(ENDLESS | {"stream": False})
    eventually(lambda: requests_held() == (1, 1))
    assert job.cancel()["status"] == "CANCELLED"
    eventually(lambda: requests_held() == (0, 0), timeout=GONE_S)
    assert job.status() == "CANCELLED"


def test_a_job_that_is_cancelled_as_soon_as_it_is_taken(
    runpod_endpoint: runpod.Endpoint, requests_held: Held
) -> None:
    job = runpod_endpoint.run(ENDLESS | {"stream": False})
    eventually(lambda: job.status() == "IN_PROGRESS")
    job.cancel()
    time.sleep(0.5)  # by now the SDK has begun it
    eventually(lambda: requests_held() == (0, 0), timeout=GONE_S)


def test_a_job_that_is_cancelled_while_a_piece_is_being_posted(
    runpod_endpoint: runpod.Endpoint, requests_held: Held, gate: StreamGate
) -> None:
    gate.shut, gate.held = True, 0
    try:
        job = runpod_endpoint.run(ENDLESS)
        eventually(lambda: gate.held == 1)
        assert requests_held() == (1, 1)
        job.cancel()
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


def test_a_client_that_gives_up_waiting(client: openai.OpenAI, requests_held: Held) -> None:
    def ask_without_patience() -> None:
        impatient = client.with_options(timeout=1)
        try:
            impatient.completions.create(
                model="demo", prompt="x", max_tokens=2000, extra_body={"ignore_eos": True}
            )
        except openai.APITimeoutError:
            gave_up.set()

    gave_up = threading.Event()
    thread = threading.Thread(target=ask_without_patience)
    thread.start()
    eventually(lambda: requests_held() == (1, 1))
    thread.join()
    assert gave_up.is_set()
    eventually(lambda: requests_held() == (0, 0), timeout=GONE_S)
