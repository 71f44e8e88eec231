"""How a worker's process ends, and what becomes of its jobs."""

import json
import re
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.running import running_endpoint
from tests.support.waiting import eventually
from tests.support.worker_process import WorkerProcess, running_worker

LONG = {"max_tokens": 1900, "ignore_eos": True}


@pytest.mark.parametrize("victim", ["EngineCore", "VLLM::Worker"])
def test_when_the_engine_dies_every_job_is_answered_and_the_process_ends_with_1(
    victim: str,
) -> None:
    with (
        running_endpoint() as endpoint,
        running_worker(endpoint.environment) as worker,
        httpx.Client(base_url=f"{endpoint.url}/v2/local", trust_env=False) as client,
    ):
        native = {"prompt": "x", "sampling_params": LONG}
        openai = {"model": "demo", "prompt": "x"} | LONG
        route = {"openai_route": "/v1/completions"}
        inputs = [
            native,
            native | {"stream": True},
            route | {"openai_input": openai},
            route | {"openai_input": openai | {"stream": True}},
        ]
        ids = [client.post("/run", json={"input": job}).json()["id"] for job in inputs]
        eventually(lambda: client.get("/health").json()["jobs"]["inProgress"] == len(inputs))
        time.sleep(0.5)  # all four are generating
        worker.child(victim).send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert worker.exit_code(timeout=10) == 1, worker.log
        assert time.monotonic() - killed < 10
        jobs = [client.get(f"/status/{job_id}").json() for job_id in ids]
        assert [job["status"] for job in jobs] == ["FAILED"] * len(inputs)
        assert [json.loads(job["error"])["code"] for job in jobs] == [503] * len(inputs)
        assert "the engine has died" in worker.log


def test_when_the_engine_hangs_its_jobs_are_answered_and_the_process_ends_with_1() -> None:
    with (
        running_endpoint() as endpoint,
        running_worker(endpoint.environment | {"ENGINE_STALL_TIMEOUT_S": "4"}) as worker,
        httpx.Client(base_url=f"{endpoint.url}/v2/local", trust_env=False) as client,
    ):
        job = {"input": {"prompt": "x", "stream": True, "sampling_params": LONG}}
        job_id = client.post("/run", json=job).json()["id"]
        eventually(lambda: status(client, job_id) == "IN_PROGRESS")
        core = worker.child("EngineCore")
        core.send_signal(signal.SIGSTOP)
        worker.wait_for("no answer from the engine for 4 s", timeout=30)
        noticed = time.monotonic()
        assert worker.exit_code(timeout=20) == 1, worker.log
        assert time.monotonic() - noticed < 10
        answer = client.get(f"/status/{job_id}").json()
        assert json.loads(answer["error"])["code"] == 503
        assert not core.is_running()


def status(client: httpx.Client, job_id: str) -> Any:
    return client.get(f"/status/{job_id}").json()["status"]


def terminate(worker: WorkerProcess) -> None:
    worker.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("end", [terminate, WorkerProcess.press_ctrl_c])
def test_the_job_in_flight_finishes_and_the_process_ends_with_0(
    end: Callable[[WorkerProcess], None],
) -> None:
    """Without RunPod's environment, so the worker brings its own endpoint."""
    with running_worker({"PORT": "0"}) as worker:
        url = worker.wait_for(r"serving on (\S+)").group(1)
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            job = {"input": {"prompt": "x", "sampling_params": LONG}}
            job_id = client.post("/run", json=job).json()["id"]
            eventually(lambda: status(client, job_id) == "IN_PROGRESS")
            worker.wait_for(f"; OpenAI's base URL is {url}/v1, and {url}/ says more")
            end(worker)
            eventually(lambda: client.post("/run", json=job).status_code == 503)
            eventually(lambda: status(client, job_id) != "IN_PROGRESS", timeout=60)
            assert status(client, job_id) == "COMPLETED", worker.log
        assert worker.exit_code() == 0, worker.log
        for step in ["local endpoint started", "vLLM imported", "engine built", "warmed up"]:
            assert re.search(rf"{step}.* in \d+\.\d s", worker.log)
        assert_parts_add_up(worker)


@pytest.mark.snapshot
def test_a_start_takes_a_dozen_lines_and_no_warning() -> None:
    with running_worker({"PORT": "0"}) as worker:
        worker.wait_for("says more")
        assert len(worker.log.splitlines()) <= 15, worker.log
        assert not re.search(r"\b(WARN|WARNING)\b|Warning:", worker.log), worker.log


def assert_parts_add_up(worker: WorkerProcess) -> None:
    """One line of the log has every part of the start, in their order, and they are all of it."""
    (line,) = re.findall(r"ready for jobs, (.*)", worker.log)
    total, parts = re.fullmatch(r"(\d+\.\d) s after the start: (.*)", line).groups()  # type: ignore[union-attr]
    parts = re.sub(r" \(weights \d+\.\d\)", "", parts)
    seconds = dict(part.rsplit(" ", 1) for part in parts.split(", "))
    assert " ".join(seconds) == (
        "Python configuration local endpoint imports engine SDK application warm-up first job-take"
    )
    rounding = 0.05 * (len(seconds) + 1)
    assert sum(map(float, seconds.values())) == pytest.approx(float(total), abs=rounding)


def test_wrong_settings_end_the_start_at_once_with_every_mistake() -> None:
    worker = WorkerProcess({"MAX_CONCURRENCY": "many", "RAW_OPENAI_OUTPUT": "perhaps"})
    assert worker.exit_code() == 2
    assert "MAX_CONCURRENCY='many'" in worker.log
    assert "RAW_OPENAI_OUTPUT='perhaps'" in worker.log
    assert "Traceback" not in worker.log
    assert "vLLM imported" not in worker.log


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        worker = WorkerProcess({"PORT": port})
        assert worker.exit_code() == 2
    assert f"PORT={port}" in worker.log
    assert "Traceback" not in worker.log
