"""Whatever RunPod's side does, the worker goes on, and what it made arrives."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.faulty_platform import (
    Fault,
    FaultyPlatform,
    answer,
    half_a_body,
    reset,
    reset_after,
    slow,
)
from tests.support.threaded_server import serving
from tests.support.waiting import eventually
from tests.support.worker_process import running_scaler_worker
from vllm_worker.local_endpoint.process import worker_environment

STREAM = {"input": {"prompt": "0.02 5", "stream": True, "max_batch_size": 1}}
WHOLE = ["done"] * 5
QUICK = {"input": {"prompt": "0"}}


class Rig:
    """One worker for all tests here, with a fake engine and the real SDK."""

    def __init__(
        self,
        platform: FaultyPlatform,
        client: httpx.Client,
        process: subprocess.Popen[bytes],
        log: Path,
    ) -> None:
        self.platform = platform
        self.client = client
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def run(self, job: dict[str, Any] = STREAM) -> str:
        return self.client.post("/run", json=job).json()["id"]

    def status(self, job_id: str) -> dict[str, Any]:
        return self.client.get(f"/status/{job_id}").json()

    def end_of(self, job_id: str, timeout: float = 30) -> dict[str, Any]:
        eventually(lambda: self.status(job_id)["status"] not in OPEN, timeout)
        return self.status(job_id)

    def chunks_of(self, job_id: str) -> list[str]:
        """The stream's texts, as a client sees them that asks once the job has ended."""
        chunks = self.client.get(f"/stream/{job_id}").json()["stream"]
        return [text for chunk in chunks for text in texts(chunk["output"])]


OPEN = ("IN_QUEUE", "IN_PROGRESS")


def texts(output: dict[str, Any]) -> list[str]:
    return [text for choice in output["choices"] for text in choice["tokens"]]


def whole(job: dict[str, Any]) -> list[str]:
    assert job["status"] == "COMPLETED", job
    return [text for output in job["output"] for text in texts(output)]


@pytest.fixture(scope="module")
def one_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    log = tmp_path_factory.mktemp("faults") / "worker.log"
    platform = FaultyPlatform()
    with (
        serving(platform) as url,
        running_scaler_worker("ours", worker_environment(url), log) as worker,
        httpx.Client(base_url=f"{url}/v2/local", trust_env=False, timeout=60) as client,
    ):
        rig = Rig(platform, client, worker, log)
        rig.end_of(rig.run())
        yield rig


@pytest.fixture
def rig(one_rig: Rig) -> Iterator[Rig]:
    yield one_rig
    one_rig.platform.always.clear()
    one_rig.platform.faults.clear()
    assert whole(one_rig.end_of(one_rig.run())) == WHOLE
    assert one_rig.process.poll() is None


@pytest.mark.parametrize(
    "fault",
    [
        answer(204),
        answer(400),
        answer(500),
        answer(200, b"{nonsense"),
        answer(200, b"<html>", b"text/html"),
        answer(200, b"[1, {}, null]"),
        answer(200, b'"text"'),
        half_a_body,
        reset,
        slow(2),
    ],
    ids=["204", "400", "500", "no JSON", "HTML", "no jobs", "a text", "half", "reset", "slow"],
)
def test_a_poll_that_fails(rig: Rig, fault: Fault) -> None:
    rig.platform.always["job-take"] = fault
    assert whole(rig.end_of(rig.run())) == WHOLE  # by the poll that is held
    before = rig.platform.seen["job-take"]
    time.sleep(2)
    assert rig.platform.seen["job-take"] - before < 50  # the worker does not ask like mad
    rig.platform.always.clear()


def test_a_poll_that_comes_too_soon(rig: Rig) -> None:
    rig.platform.faults["job-take"].append(answer(429))
    for _ in range(2):
        assert whole(rig.end_of(rig.run())) == WHOLE


def test_an_endpoint_that_is_gone_for_a_while(rig: Rig) -> None:
    job = {"input": {"prompt": "0.5 5", "stream": True, "max_batch_size": 1}}
    job_id = rig.run(job)
    eventually(lambda: rig.status(job_id)["status"] == "IN_PROGRESS")
    for kind in ("job-take", "job-stream", "job-done", "job-stop", "ping"):
        rig.platform.always[kind] = reset
    before = rig.platform.seen["job-take"]
    time.sleep(8)
    assert rig.platform.seen["job-take"] - before < 20
    rig.platform.always.clear()
    assert whole(rig.end_of(job_id)) == WHOLE


def test_a_job_that_is_given_out_twice_is_answered_once(rig: Rig) -> None:
    job = {"id": "twice", "input": {"prompt": "0.5"}}
    rig.platform.faults["job-take"].append(answer(200, json.dumps([job, job]).encode()))
    began, done = rig.log.count("begins"), rig.platform.seen["job-done"]
    rig.end_of(rig.run())  # lets the poll go that is held
    eventually(lambda: "job twice was delivered again while in flight" in rig.log)
    eventually(lambda: "job twice: native" in rig.log)
    assert rig.log.count("begins") == began + 2
    assert rig.platform.seen["job-done"] == done + 2


def test_a_job_that_comes_again_and_is_then_stopped_begins_anew(rig: Rig) -> None:
    job = {"id": "again", "input": {"prompt": "60"}}
    faults = rig.platform.faults
    faults["job-take"].extend(answer(200, json.dumps([j]).encode()) for j in (job, job | QUICK))
    rig.end_of(rig.run())  # lets the poll go that is held
    eventually(lambda: "job again was delivered again while in flight" in rig.log)
    faults["job-stop"].append(answer(200, b'{"jobsToStop": ["again"]}'))
    stopped = rig.run({"input": {"prompt": "60"}})
    eventually(lambda: rig.status(stopped)["status"] == "IN_PROGRESS")
    rig.client.post(f"/cancel/{stopped}")  # lets the poll for stops go that is held
    eventually(lambda: re.search("job again: native.*cancelled", rig.log) is not None)
    eventually(lambda: re.search("job again: native.*completed", rig.log) is not None)


@pytest.mark.parametrize("fault", [answer(502), answer(429), reset, reset_after])
@pytest.mark.parametrize("times", [1, 2])
def test_a_chunk_that_is_refused_comes_again(rig: Rig, fault: Fault, times: int) -> None:
    rig.platform.faults["job-stream"].extend([fault] * times)
    job_id = rig.run()
    assert whole(rig.end_of(job_id)) == WHOLE
    assert rig.chunks_of(job_id) == WHOLE


@pytest.mark.parametrize("fault", [answer(500), reset])
def test_chunks_that_never_arrive(rig: Rig, fault: Fault) -> None:
    rig.platform.always["job-stream"] = fault
    job_id = rig.run()
    assert whole(rig.end_of(job_id)) == WHOLE
    assert rig.chunks_of(job_id) == []
    lost = [line for line in rig.log.splitlines() if job_id in line and "Failed to return" in line]
    assert len(lost) == 5


@pytest.mark.parametrize("fault", [answer(500), answer(429), reset, reset_after, half_a_body])
def test_a_result_is_posted_until_it_arrives(rig: Rig, fault: Fault) -> None:
    rig.platform.faults["job-done"].extend([fault] * 3)
    assert whole(rig.end_of(rig.run())) == WHOLE


def test_a_stop_for_an_unknown_job(rig: Rig) -> None:
    fault = answer(200, b'{"jobsToStop": ["nobody", 5, null]}')
    rig.platform.faults["job-stop"].extend([fault, answer(500), answer(200, b"{nonsense"), reset])
    before = rig.platform.seen["job-stop"]
    stopped = rig.run({"input": {"prompt": "60"}})
    eventually(lambda: rig.status(stopped)["status"] == "IN_PROGRESS")
    rig.client.post(f"/cancel/{stopped}")  # lets the poll go that is held
    eventually(lambda: rig.platform.seen["job-stop"] >= before + 5)
    ended = rig.log.count("ends")
    last = rig.run({"input": {"prompt": "60"}})
    eventually(lambda: rig.status(last)["status"] == "IN_PROGRESS")
    rig.client.post(f"/cancel/{last}")
    eventually(lambda: rig.log.count("ends") == ended + 1)
