"""Workers that share a volume, on the real engine."""

import shutil
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.mounts import read_only
from tests.system.worker_process import ROOT, WorkerProcess, running_worker

DEMO = ROOT / "src/vllm_worker/demo_model"
KEPT = r"\d+ MB of compiled code kept"


def container(volume: Path, folder: Path) -> dict[str, str]:
    """The environment of a worker that has its own files in `folder` and compiles the model."""
    home = {"XDG_CACHE_HOME": str(folder), "BASE_PATH": str(volume)}
    return home | {"ENFORCE_EAGER": "0", "PORT": "0"}


def answers(worker: WorkerProcess) -> bool:
    url = worker.wait_for(r"serving on (http://\S+)")[1]
    job = {"input": {"prompt": "What is vLLM?", "sampling_params": {"max_tokens": 4}}}
    reply = httpx.post(f"{url}/v2/local/runsync", json=job, timeout=60, trust_env=False).json()
    return bool(reply["status"] == "COMPLETED")


def archive(volume: Path) -> Path:
    (archive,) = (volume / "vllm-worker-cache").rglob("*.tar")
    return archive


def libraries(archive: Path) -> dict[str, int]:
    """What the C++ compiler has made, and when it did."""
    with tarfile.open(archive) as members:
        return {each.name: int(each.mtime) for each in members if each.name.endswith(".so")}


@pytest.mark.slow
def test_the_second_worker_compiles_nothing(tmp_path: Path) -> None:
    volume, files = tmp_path / "volume", tmp_path / "files"
    volume.mkdir()
    with running_worker(container(volume, files)) as worker:
        worker.wait_for(KEPT)
    kept = archive(volume)
    compiled, before = libraries(kept), kept.stat().st_ino
    assert compiled
    shutil.rmtree(files)  # as with a new container, at the same paths
    with running_worker(container(volume, files)) as worker:
        assert f"compiled code read from {kept}" in worker.log
        assert answers(worker)
        (folder,) = (files / "vllm-worker").glob("*/*/demo")
        libraries_now = {str(path.relative_to(folder)): path for path in folder.rglob("*.so")}
        assert {n: int(path.stat().st_mtime) for n, path in libraries_now.items()} == compiled
    assert kept.stat().st_ino == before


@pytest.mark.slow
def test_two_workers_that_start_at_once_both_come_up(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    workers = [WorkerProcess(container(volume, tmp_path / name)) for name in ("one", "other")]
    try:
        for worker in workers:
            assert answers(worker.wait_until_ready())
            worker.wait_for(KEPT)
    finally:
        for worker in workers:
            worker.stop()
    assert libraries(archive(volume))
    assert not list(archive(volume).parent.glob("*.part"))


def test_a_model_on_a_read_only_volume_is_served(tmp_path: Path) -> None:
    repository = tmp_path / "huggingface-cache/hub/models--owner--small"
    snapshot = repository / "snapshots/abc"
    shutil.copytree(DEMO, snapshot, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {"MODEL_NAME": "owner/small", "BASE_PATH": str(tmp_path), "PORT": "0"}
    # Neither a Hub that answers nor the small machine's compiler is needed.
    settings |= {"HF_ENDPOINT": "http://127.0.0.1:9", "ENFORCE_EAGER": "1"}
    with read_only(tmp_path), running_worker(settings) as worker:
        assert "cannot be written to (Read-only file system): the model is read" in worker.log
        assert answers(worker)
        assert "owner/small" in worker.log
