"""The life of the endpoint's process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from vllm_worker.local_endpoint import EndpointStartError, start, worker_environment

SOURCES = str(Path(__file__).parents[2] / "src")
JOB: dict[str, Any] = {"input": {}}
PARENT = """
import os, sys
from vllm_worker.local_endpoint import start
endpoint = start("127.0.0.1", 0)
print(endpoint.url, endpoint.process.pid, flush=True)
sys.stdin.read()
os._exit(1)
"""


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False) as client:
        yield client


def run_python(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCES},
    )


def wait_until_refused(http: httpx.Client, url: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            http.get(f"{url}/health")
        except httpx.TransportError:
            return
        time.sleep(0.05)
    pytest.fail(f"{url} still answers after {seconds} s")


def test_with_keys_clients_and_the_worker_need_one(http: httpx.Client) -> None:
    endpoint = start("127.0.0.1", 0, keys=["first-key", "two"])
    try:
        take = endpoint.environment["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", "w")
        worker = {"Authorization": endpoint.environment["RUNPOD_AI_API_KEY"]}
        for method, url in [
            ("GET", f"{endpoint.url}/health"),
            ("POST", f"{endpoint.url}/v2/local/run"),
            ("POST", f"{endpoint.url}/v1/chat/completions"),
            ("GET", take),
        ]:
            refused = http.request(method, url, headers={"Authorization": "Bearer three"})
            assert refused.status_code == 401
            assert refused.json()["error"]["type"] == "AuthenticationError"
        for key in ("first-key", "two"):
            headers = {"Authorization": f"Bearer {key}"}
            assert http.get(f"{endpoint.url}/health", headers=headers).status_code == 200
        url = f"{endpoint.url}/v2/local/run"
        job_id = http.post(url, json=JOB, headers={"x-api-key": "two"}).json()["id"]
        assert http.get(take, headers=worker).json()["id"] == job_id
        assert "first-key" not in str(endpoint.process.args)  # seen by every user of the machine
    finally:
        endpoint.stop()


def test_a_file_of_keys_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(EndpointStartError, match="API_KEYS_FILE="):
        start("127.0.0.1", 0, keys_file=str(tmp_path / "nothing"))


def test_ctrl_c_closes_and_stop_ends(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # the child must find the package without it
    endpoint = start("127.0.0.1", 0)
    base = f"{endpoint.url}/v2/local"
    worker = endpoint.environment["RUNPOD_POD_ID"]
    try:
        assert endpoint.port != 0
        job = http.post(f"{base}/run", json=JOB).json()["id"]
        http.get(f"{base}/job-take/{worker}?gpu=x")
        endpoint.close()
        while http.post(f"{base}/run", json=JOB).status_code != 503:
            time.sleep(0.01)
        time.sleep(0.4)  # longer than a server that exits would still answer
        http.post(f"{base}/job-done/{worker}/{job}?gpu=x", json={"output": "last"})
        assert http.get(f"{base}/status/{job}").json()["output"] == "last"
    finally:
        endpoint.stop()
    wait_until_refused(http, endpoint.url, 0.5)
    endpoint.stop()
    endpoint.close()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EndpointStartError, match=rf"HOST=127\.0\.0\.1 PORT={port}: .*in use"):
            start("127.0.0.1", port)
        process = run_python("-m", "vllm_worker.local_endpoint", "--port", str(port))
        _, errors = process.communicate(timeout=5)
    assert process.returncode == 1
    assert f"PORT={port}" in errors
    assert "Traceback" not in errors


def test_an_endpoint_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EndpointStartError, match=r"HOST=127\.0\.0\.1 PORT="):
        start("127.0.0.1", 0)


def test_the_endpoint_ends_with_its_parent(http: httpx.Client) -> None:
    parent = run_python("-c", PARENT)
    assert parent.stdout is not None
    url, child = parent.stdout.readline().split()
    try:
        assert http.get(f"{url}/health").status_code == 200
        parent.kill()
        wait_until_refused(http, url, 3)
    except BaseException:
        os.kill(int(child), signal.SIGKILL)
        raise
    finally:
        parent.communicate()


def test_alone_it_ends_on_ctrl_c(http: httpx.Client) -> None:
    process = run_python("-m", "vllm_worker.local_endpoint", "--port", "0", "--endpoint-id", "mine")
    assert process.stdout is not None
    line = process.stdout.readline()
    url = line.split()[-1]
    assert url.endswith("/v2/mine")
    assert http.get(f"{url}/health").status_code == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=3)
    assert (process.returncode, errors) == (0, "")


def test_the_workers_environment() -> None:
    environment = worker_environment("http://h:1", "e", worker_id="w")
    assert environment["RUNPOD_WEBHOOK_GET_JOB"].startswith("http://h:1/v2/e/job-take/$ID?")
    assert environment["RUNPOD_POD_ID"] == "w"
    assert environment["RUNPOD_ENDPOINT_ID"] == "e"
    first, second = (worker_environment("http://h:1")["RUNPOD_POD_ID"] for _ in range(2))
    assert first != second
