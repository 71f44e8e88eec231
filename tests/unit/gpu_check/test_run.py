"""The checks of a GPU without one: what is asked of the driver, and what the page says."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from vllm_worker.gpu_check.machine import GPU, gpus
from vllm_worker.gpu_check.process import CheckFailed, Served, worker
from vllm_worker.gpu_check.report import Result, as_json, as_markdown
from vllm_worker.gpu_check.run import NO_GPU, GPUCheck, gpu_check

Driver = Callable[[str], None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Puts an nvidia-smi with this answer on the PATH; none is there before."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def answer(text: str) -> None:
        smi = tmp_path / "nvidia-smi"
        smi.write_text(f"#!/bin/sh\necho '{text}'\n")
        smi.chmod(0o755)

    return answer


def test_the_driver_says_which_gpus_there_are(driver: Driver) -> None:
    assert gpus() == []
    driver("NVIDIA L4, 580.65.06, 23034, 22563, 8.9\nNVIDIA L4, 580.65.06, 23034, 500, 8.9")
    first, second = gpus()
    assert first == GPU("NVIDIA L4", "580.65.06", 23034, 22563, "8.9")
    assert second.free_mib == 500


def test_without_a_gpu_nothing_is_checked(driver: Driver, tmp_path: Path) -> None:
    said: list[str] = []
    assert gpu_check({}, tmp_path / "page", said.append) == 1
    assert said == [NO_GPU]
    assert not (tmp_path / "page.md").exists()


def test_a_check_that_fails_leaves_the_others(tmp_path: Path) -> None:
    def fails() -> str:
        raise CheckFailed("no tokens")

    said: list[str] = []
    checking = GPUCheck({}, tmp_path, said.append)
    checking._check("chat", fails)
    checking._check("native", lambda: "16 tokens")
    assert said == ["failed  chat: CheckFailed: no tokens", "passed  native: 16 tokens"]
    assert [result.verdict for result in checking.results] == ["failed", "passed"]


def test_a_worker_that_does_not_start_is_shown_by_its_last_lines(tmp_path: Path) -> None:
    environment = os.environ | {"MAX_CONCURRENCY": "many"}
    with (
        pytest.raises(CheckFailed, match="MAX_CONCURRENCY='many'"),
        worker(environment, tmp_path / "log"),
    ):
        pass


def test_a_process_that_does_not_end_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_worker.gpu_check.process._END_S", 0.1)
    served = Served(["-c", "import time; time.sleep(60)"], {}, tmp_path / "log")
    try:
        with pytest.raises(CheckFailed, match="has not ended"):
            served.exit_code()
    finally:
        served.kill()


def test_the_page_has_the_machine_and_every_result() -> None:
    gpu = asdict(GPU("NVIDIA L4", "580.65.06", 23034, 22563, "8.9"))
    machine = {"gpus": [gpu], "versions": {"vllm": "0.33.0"}}
    results = [Result("chat", "passed", "32 tokens\nor | so", 0.25)]
    page = as_markdown(machine, "demo", results)
    assert page.startswith("# demo on NVIDIA L4\n")
    assert "- NVIDIA L4, 23,034 MiB, compute capability 8.9, driver 580.65.06\n" in page
    assert "| chat | passed | 0.2 | 32 tokens or \\| so |" in page
    assert json.loads(as_json(machine, "demo", results))["checks"][0]["name"] == "chat"


def test_a_client_that_finds_nobody_is_a_failed_check(tmp_path: Path) -> None:
    said: list[str] = []
    checking = GPUCheck({}, tmp_path, said.append)
    with httpx.Client(base_url="http://127.0.0.1:9") as nobody:
        checking._check("chat", lambda: nobody.get("/").text)
    assert said[0].startswith("failed  chat: ConnectError")
