"""How the engine's processes are started: as copies, or anew."""

import argparse
import ast
import os
import re
import subprocess
import sys
from typing import Any

import httpx
import pytest
from vllm.utils.system_utils import get_mp_context

from tests.support.running import running_endpoint, running_worker_and_endpoint
from tests.support.worker_process import running_worker
from vllm_worker.engine.patches.core_process import spawn_where_needed

FORK_WATCHING = "tests/support/fork_watching_handler.py"
METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METHOD, "fork")


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ({"numa_bind": True}, {}),
        ({"mm_tensor_ipc": "torch_shm"}, {}),
        ({}, {"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}),
    ],
)
def test_they_are_started_anew_where_a_copy_would_not_do(
    options: dict[str, Any], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert spawn_where_needed(argparse.Namespace(**options))
    assert get_mp_context().get_start_method() == "spawn"


def test_else_the_method_is_left_alone() -> None:
    arguments = argparse.Namespace(numa_bind=False, mm_tensor_ipc="direct_rpc")
    assert not spawn_where_needed(arguments)
    assert os.environ[METHOD] == "fork"


def test_a_core_that_is_started_anew_answers() -> None:
    job = {"input": {"prompt": "RunPod is", "sampling_params": {"max_tokens": 5}}}
    with running_worker_and_endpoint({"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}) as (worker, endpoint):
        answer = httpx.post(f"{endpoint.url}/runsync", json=job, timeout=60, trust_env=False)
        assert answer.json()["status"] == "COMPLETED"
        assert "the engine's processes are spawned, not forked" in worker.log
        assert "Traceback" not in worker.log


def test_the_core_is_not_copied_from_a_process_that_has_run_an_openmp_region() -> None:
    """The copy would hang at the first one of its own."""
    # OpenBLAS starts threads when it is imported, and ends them at a fork.
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
    with (
        running_endpoint() as endpoint,
        running_worker(endpoint.environment | quiet, FORK_WATCHING) as worker,
    ):
        forks = re.findall(r"forked beside (.*)", worker.log)
    assert forks
    threads = {name for fork in forks for name in ast.literal_eval(fork)}
    assert not {name for name in threads if not name.startswith("ZMQbg/")}


def test_a_thread_of_openmp_would_be_seen_there() -> None:
    region = (
        "import torch; from tests.support.fork_watching_handler import native_threads; "
        "torch.ones(1 << 22).sum(); print(native_threads())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    seen = subprocess.check_output([sys.executable, "-c", region], env=environment, text=True)
    assert seen.strip() != "[]"
