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
from vllm_worker.gpu_check.run import NO_GPU, NO_HANDLER, GPUCheck, gpu_check

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


def test_a_gpu_that_shares_memory_has_none_of_its_own(driver: Driver) -> None:
    driver("NVIDIA GB10, 580.65.06, [N/A], [N/A], 12.1")
    assert gpus() == [GPU("NVIDIA GB10", "580.65.06", 0, 0, "12.1")]


@pytest.mark.parametrize(
    ("environ", "model"),
    [
        ({}, "demo"),
        ({"MODEL_NAME": ""}, "demo"),
        ({"MODEL": "org/model"}, "org/model"),
        ({"MODEL_NAME": "org/model", "RUNPOD_POD_ID": "x", "API_KEY": "k"}, "org/model"),
    ],
)
def test_the_model_is_the_workers(environ: dict[str, str], model: str, tmp_path: Path) -> None:
    assert GPUCheck(environ, tmp_path, tmp_path, print).model == model


def test_what_was_downloaded_to_the_volume_is_found(tmp_path: Path) -> None:
    hub = tmp_path / "models/huggingface-cache/hub"
    hub.mkdir(parents=True)
    checking = GPUCheck({"BASE_PATH": str(tmp_path / "models")}, tmp_path, tmp_path, print)
    assert checking._environment["HF_HUB_CACHE"] == str(hub)
    assert checking._environment["BASE_PATH"] == str(tmp_path / "volume")


@pytest.mark.parametrize(("chosen", "pair"), [("6,7,3", ["6", "7"]), ("2", ["2"])])
def test_the_two_gpus_are_of_those_that_are_visible(
    chosen: str, pair: list[str], tmp_path: Path
) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": chosen}
    assert GPUCheck(environ, tmp_path, tmp_path, print)._visible()[:2] == pair


def test_it_is_said_where_to_run_it(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver("NVIDIA L4, 580.65.06, 23034, 22563, 8.9")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert gpu_check({}, tmp_path / "page", said.append) == 1
    assert said == [NO_HANDLER]


def test_without_a_gpu_nothing_is_checked(driver: Driver, tmp_path: Path) -> None:
    said: list[str] = []
    assert gpu_check({}, tmp_path / "page", said.append) == 1
    assert said == [NO_GPU]
    assert not (tmp_path / "page.md").exists()


def test_a_check_that_fails_leaves_the_others(tmp_path: Path) -> None:
    def fails() -> str:
        raise CheckFailed("no tokens")

    said: list[str] = []
    checking = GPUCheck({}, tmp_path, tmp_path, said.append)
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


def test_a_process_that_does_not_end_is_a_failure(tmp_path: Path) -> None:
    served = Served(["-c", "import time; time.sleep(60)"], {}, tmp_path / "log")
    try:
        with pytest.raises(CheckFailed, match="has not ended"):
            served.exit_code(0.1)
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
    checking = GPUCheck({}, tmp_path, tmp_path, said.append)
    with httpx.Client(base_url="http://127.0.0.1:9") as nobody:
        checking._check("chat", lambda: nobody.get("/").text)
    assert said[0].startswith("failed  chat: ConnectError")
