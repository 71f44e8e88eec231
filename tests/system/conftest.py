"""One worker process for all tests that do not end it, on an endpoint of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import anthropic
import openai
import pytest
import runpod

from tests.support import worker_process
from tests.support.http_worker import http_worker, wait_for_status
from tests.support.running import end_with, running_endpoint
from tests.support.stream_gate import StreamGate, stream_gate
from tests.support.worker_process import MEASURED, WorkerProcess, running_worker
from vllm_worker.local_endpoint import process


@pytest.fixture(scope="session")
def endpoint() -> Iterator[process.EndpointProcess]:
    with running_endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def gate(endpoint: process.EndpointProcess) -> Iterator[StreamGate]:
    with stream_gate(endpoint.url) as gate:
        yield gate


@pytest.fixture(scope="session")
def inspect_socket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker") / "inspect"


@pytest.fixture(scope="session")
def worker(
    endpoint: process.EndpointProcess, gate: StreamGate, inspect_socket: Path
) -> Iterator[WorkerProcess]:
    # The look into the engine's core is by its statistics.
    inspection = {
        "INSPECT_SOCKET": str(inspect_socket),
        "DISABLE_LOG_STATS": "0",
        "VLLM_ENABLE_RESPONSES_API_STORE": "1",
        "STREAM_MAX_DELAY_MS": "10000",  # so that chunks have their sizes on a slow machine too
    }
    environment = endpoint.environment | inspection | MEASURED
    stream = "RUNPOD_WEBHOOK_POST_STREAM"
    environment[stream] = environment[stream].replace(endpoint.url, gate.url)
    with running_worker(environment, "tests/support/inspectable_handler.py") as worker:
        end_with(worker, endpoint)
        yield worker


@pytest.fixture
def requests_held(worker: WorkerProcess, inspect_socket: Path) -> Callable[[], tuple[int, int]]:
    """How many requests the engine holds, in its frontend and in its core."""
    return lambda: worker_process.requests_held(inspect_socket)


@pytest.fixture
def client(worker: WorkerProcess, endpoint: process.EndpointProcess) -> openai.OpenAI:
    base_url = f"{endpoint.url}/v2/local/openai/v1"
    return openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)


@pytest.fixture
def claude(
    client: openai.OpenAI, endpoint: process.EndpointProcess
) -> Iterator[anthropic.Anthropic]:
    """Anthropic's client; it adds /v1/messages itself."""
    url = f"{endpoint.url}/v2/local/openai"
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as claude:
        yield claude


@pytest.fixture
def runpod_endpoint(
    worker: WorkerProcess, endpoint: process.EndpointProcess, monkeypatch: pytest.MonkeyPatch
) -> runpod.Endpoint:
    monkeypatch.setattr(runpod, "endpoint_url_base", f"{endpoint.url}/v2")
    return runpod.Endpoint("local", api_key="none")


@pytest.fixture(scope="session")
def door_worker() -> Iterator[tuple[WorkerProcess, str]]:
    worker, url = http_worker(MAX_CONCURRENCY="4", **MEASURED)
    try:
        # The port is open before the model is there.
        seen = wait_for_status(worker, url, 200)
        assert seen[:-1] == [204] * (len(seen) - 1)
        assert 204 in seen
        yield worker, url
    finally:
        worker.stop()


@pytest.fixture
def door_url(door_worker: tuple[WorkerProcess, str]) -> str:
    return door_worker[1]
