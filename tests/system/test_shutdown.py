"""SIGTERM at every point of a worker's life: jobs are answered, and nothing is left behind."""

import json
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.running import running_endpoint
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess, running_scaler_worker, running_worker

LONG = {"max_tokens": 1900, "ignore_eos": True}
NATIVE = {"prompt": "x", "sampling_params": LONG}
ROUTE = {"openai_route": "/v1/completions"}
OPENAI = {"model": "demo", "prompt": "x"} | LONG


def test_jobs_that_do_not_finish_in_time_are_answered_and_nothing_is_left() -> None:
    inputs = [
        NATIVE,
        NATIVE | {"stream": True},
        ROUTE | {"openai_input": OPENAI},
        ROUTE | {"openai_input": OPENAI | {"stream": True}},
    ]
    with (
        running_endpoint() as endpoint,
        running_worker(endpoint.environment | {"SHUTDOWN_GRACE_S": "0"}) as worker,
        httpx.Client(base_url=f"{endpoint.url}/v2/local", trust_env=False) as client,
    ):
        ids = [client.post("/run", json={"input": job}).json()["id"] for job in inputs]
        eventually(lambda: client.get("/health").json()["jobs"]["inProgress"] == len(inputs))
        time.sleep(0.5)  # all four are generating
        family, memory = worker.family(), worker.shared_memory()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0, worker.log
        jobs = [client.get(f"/status/{job_id}").json() for job_id in ids]
    assert [job["status"] for job in jobs] == ["FAILED"] * len(inputs)
    errors = [json.loads(job["error"]) for job in jobs]
    assert {error["code"] for error in errors} == {503}
    assert {error["message"].partition(".")[0] for error in errors} == {
        "This worker was shut down before the job was done"
    }
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert not [path for path in memory if path.exists()]


@pytest.mark.parametrize("sign", ["vLLM imported", "Starting to load model", "Starting Serverless"])
def test_sigterm_while_the_worker_starts(sign: str) -> None:
    worker = WorkerProcess({"PORT": "0"})
    worker.wait_for(sign)
    family, memory = worker.family(), worker.shared_memory()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.log
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert not [path for path in memory if path.exists()]


def test_the_worker_ends_with_its_local_endpoint() -> None:
    """Who frees a port by its process would else have a worker that takes the next one's jobs."""
    worker = WorkerProcess({"PORT": "0"})
    worker.wait_for("ready for jobs")
    family = worker.family()
    (endpoint,) = [each for each in family if "vllm_worker.local_endpoint" in each.cmdline()]
    endpoint.terminate()
    assert worker.exit_code() == 0, worker.log
    assert "the local endpoint has ended, and so does its worker" in worker.log
    assert not psutil.wait_procs(family, timeout=10)[1]


@pytest.mark.parametrize(("grace", "signals"), [("1", 1), ("60", 2)])
def test_the_grace_ends_by_time_or_by_a_second_signal(
    grace: str, signals: int, tmp_path: Path
) -> None:
    settings = {"SHUTDOWN_GRACE_S": grace}
    with (
        running_endpoint() as endpoint,
        running_scaler_worker("ours", endpoint.environment | settings, tmp_path / "log") as worker,
        httpx.Client(base_url=f"{endpoint.url}/v2/local", trust_env=False, timeout=30) as client,
    ):
        short, long = (
            client.post("/run", json={"input": {"prompt": seconds}}).json()["id"]
            for seconds in ("0.5", "50")
        )
        eventually(lambda: client.get("/health").json()["jobs"]["inProgress"] == 2)
        worker.send_signal(signal.SIGTERM)
        eventually(lambda: client.get(f"/status/{short}").json()["status"] == "COMPLETED")
        for _ in range(signals - 1):
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        answer = client.get(f"/status/{long}").json()
    assert json.loads(answer["error"])["code"] == 503
