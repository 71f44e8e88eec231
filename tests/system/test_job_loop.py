"""Our job loop beside the SDK's own: the same behaviour, and no waiting."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running import running_endpoint
from tests.support.worker_process import running_scaler_worker

LOOPS = ["ours", "sdk"]


class Rig:
    """A worker on an endpoint of its own; `lines` is what the worker has printed."""

    def __init__(self, client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
        self.client = client
        self.process = process
        self._log = log

    @property
    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def submit(self, seconds: float) -> str:
        return self.client.post("/run", json={"input": {"prompt": str(seconds)}}).json()["id"]

    def status(self, job_id: str) -> Any:
        return self.client.get(f"/status/{job_id}").json()["status"]


@contextmanager
def rig(loop: str, folder: Path) -> Iterator[Rig]:
    log = folder / f"{loop}.log"
    with (
        running_endpoint() as endpoint,
        running_scaler_worker(loop, endpoint.environment | {"MAX_CONCURRENCY": "2"}, log) as worker,
        httpx.Client(base_url=endpoint.url, trust_env=False, timeout=30) as client,
    ):
        yield Rig(client, worker, log)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("loop", LOOPS)
def test_concurrency_cancel_and_drain_are_the_sdks(loop: str, tmp_path: Path) -> None:
    with rig(loop, tmp_path) as worker:
        jobs = [worker.submit(30) for _ in range(3)]
        eventually(lambda: worker.lines.count("begins") == 2)
        time.sleep(0.3)
        assert [worker.status(job) for job in jobs].count("IN_PROGRESS") == 2
        assert worker.lines.count("begins") == 2
        first = next(job for job in jobs if worker.status(job) == "IN_PROGRESS")
        worker.client.post(f"/cancel/{first}")
        eventually(lambda: worker.lines.count("ends") == 1)
        eventually(lambda: worker.lines.count("begins") == 3)
        for job in jobs:
            worker.client.post(f"/cancel/{job}")
        eventually(lambda: worker.lines.count("ends") == 3)
        last = worker.submit(1)
        eventually(lambda: worker.lines.count("begins") == 4)
        worker.process.send_signal(signal.SIGTERM)
        eventually(lambda: worker.status(last) == "COMPLETED")
        assert worker.process.wait(15) == 0


def test_a_job_that_comes_after_sigterm_is_answered(tmp_path: Path) -> None:
    """The SDK's own loop takes it, since its poll is still held, and then never runs it."""
    with rig("ours", tmp_path) as worker:
        assert worker.client.post("/runsync", json={"input": {"prompt": "0"}}).is_success
        time.sleep(0.2)
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        late = worker.submit(0)
        eventually(lambda: worker.status(late) == "COMPLETED")
        assert worker.process.wait(15) == 0


def test_a_job_starts_sooner_than_in_the_sdks_own_loop(tmp_path: Path) -> None:
    seconds = {}
    for loop in LOOPS:
        with rig(loop, tmp_path) as worker:
            ask = {"input": {"prompt": "0"}}
            worker.client.post("/runsync", json=ask)
            started = time.monotonic()
            for _ in range(10):
                time.sleep(0.03)
                answer = worker.client.post("/runsync", json=ask).json()
                assert answer["status"] == "COMPLETED"
            seconds[loop] = time.monotonic() - started - 0.3
    assert seconds["ours"] < 0.5 * seconds["sdk"], seconds


def test_with_another_sdk_its_own_loop_is_used_and_that_is_said(tmp_path: Path) -> None:
    with rig("sdk", tmp_path) as worker:
        worker.client.post("/runsync", json={"input": {"prompt": "0"}})
        assert any("jobs start up to 0.1 s later" in line for line in worker.lines)
