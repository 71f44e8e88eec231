"""A worker that cannot start says why, and what to change, on the last line of its log."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.threaded_server import serving
from tests.support.worker_process import WorkerProcess
from vllm_worker.local_endpoint import EndpointProcess


async def refuse(request: Request) -> Response:
    if "gated" in request.url.path:
        return Response("no", 403, headers={"X-Error-Code": "GatedRepo"})
    return Response("no", 404, headers={"X-Error-Code": "RepoNotFound"})


@pytest.fixture(scope="module")
def hub_url() -> Iterator[str]:
    """The address of a Hub that has nothing for anyone."""
    with serving(Starlette(routes=[Route("/{path:path}", refuse)])) as url:
        yield url


def last_lines(worker: WorkerProcess) -> str:
    """After the reason only processes that the worker has started may still say something."""
    assert worker.exit_code(timeout=200) == 1, worker.log
    return "\n".join(worker.log.strip().splitlines()[-3:])


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("owner/nope", "has no such model, or not for this account: check MODEL_NAME"),
        ("owner/gated", "denies access: set HF_TOKEN"),
    ],
)
def test_a_model_that_is_not_to_be_had(hub_url: str, tmp_path: Path, model: str, says: str) -> None:
    settings = {
        "MODEL_NAME": model,
        "HF_ENDPOINT": hub_url,
        "BASE_PATH": str(tmp_path),
        "PORT": "0",
    }
    worker = WorkerProcess(settings | {"HF_TOKEN": "hf_planted"})
    assert says in last_lines(worker)
    assert "Traceback" not in worker.log
    assert "hf_planted" not in worker.log


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"KV_CACHE_MEMORY_BYTES": "65536"}, "does not fit into the KV cache: lower MAX_MODEL_LEN"),
        ({"KV_CACHE_MEMORY_BYTES": str(1 << 50)}, "not enough memory: take a larger GPU"),
    ],
)
def test_memory_that_is_not_enough(settings: dict[str, str], says: str) -> None:
    worker = WorkerProcess(settings | {"PORT": "0"})
    assert says in last_lines(worker)
    assert "Traceback" not in worker.log


def test_an_engine_that_is_killed_while_it_starts() -> None:
    worker = WorkerProcess({"PORT": "0"})
    worker.wait_for("Starting to load model")
    family, memory = worker.family(), worker.shared_memory()
    worker.child("EngineCore").kill()
    assert "killed because main memory has run out" in last_lines(worker)
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert not [path for path in memory if path.exists()]


def test_a_machine_that_fails_a_fitness_check_loads_no_model(
    endpoint: EndpointProcess,
) -> None:
    """Nor is a process left behind, or shared memory."""
    worker = WorkerProcess(endpoint.environment | {"RUNPOD_MIN_MEMORY_GB": "100000"})
    says = last_lines(worker)
    assert "this machine has failed a fitness check of RunPod's SDK" in says
    assert re.search(r"Fitness check failed: _memory_check .*, 100000.0GB required", worker.log)
    assert "engine built" not in worker.log
    assert "Traceback" not in worker.log
    left = [process for process in psutil.process_iter() if _is_of(process, worker.process.pid)]
    assert not left


def _is_of(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False
