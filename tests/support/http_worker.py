"""A worker in http mode, as a load-balancing endpoint or a Pod has it."""

import contextlib
import socket
import time
from collections.abc import Iterator

import httpx

from tests.support.worker_process import WorkerProcess

KEY = "a-secret-key"
HEADERS = {"Authorization": f"Bearer {KEY}"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def http_worker(script: str = "handler.py", **settings: str) -> tuple[WorkerProcess, str]:
    """A worker as on a load-balancing endpoint, and its address."""
    port = str(free_port())
    environment = {"RUNPOD_ENDPOINT_ID": "e", "HOST": "127.0.0.1", "PORT": port, "API_KEY": KEY}
    return WorkerProcess(environment | settings, script), f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def running_http_worker(**settings: str) -> Iterator[tuple[WorkerProcess, str]]:
    """The same, ready, and ended at the end."""
    worker, url = http_worker(**settings)
    try:
        wait_for_status(worker, url, 200)
        yield worker, url
    finally:
        worker.stop()


def wait_for_status(worker: WorkerProcess, url: str, wanted: int) -> list[int]:
    """The statuses of /ping until one is `wanted`."""
    seen: list[int] = []
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert worker.process.poll() is None, worker.log
        try:
            seen.append(httpx.get(f"{url}/ping", trust_env=False).status_code)
        except httpx.TransportError:
            if seen and seen[-1] != 204:
                raise
        if seen and seen[-1] == wanted:
            return seen
        time.sleep(0.2)
    raise AssertionError(worker.log)


def wait_until_idle(url: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if httpx.get(f"{url}/ping", trust_env=False).json()["jobs"] == 0:
            return
        time.sleep(0.05)
    raise AssertionError("requests are left")
