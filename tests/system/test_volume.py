"""Workers that share a volume, on the real engine."""

import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.mounts import read_only, small
from tests.support.threaded_server import serving
from tests.support.worker_process import ROOT, WorkerProcess, running_worker

DEMO = ROOT / "src/vllm_worker/demo_model"
KEPT = r"\d+ MB of compiled code saved"


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


def put_model(volume: Path) -> None:
    """The embedded model, as one that was downloaded before."""
    repository = volume / "huggingface-cache/hub/models--owner--small"
    shutil.copytree(DEMO, repository / "snapshots/abc")


@contextmanager
def a_read_only_volume(folder: Path) -> Iterator[None]:
    put_model(folder)
    with read_only(folder):
        yield


@contextmanager
def a_full_volume(folder: Path) -> Iterator[None]:
    with small(folder, "16m"):
        put_model(folder)
        free = shutil.disk_usage(folder).free
        (folder / "filling").write_bytes(bytes(free))
        yield


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        (a_read_only_volume, "cannot be written to (Read-only file system): the model is read"),
        (a_full_volume, "is full: the model is read"),
    ],
)
def test_a_model_on_a_volume_that_takes_nothing_is_served(
    tmp_path: Path, volume: Callable[[Path], AbstractContextManager[None]], says: str
) -> None:
    settings = {"MODEL_NAME": "owner/small", "BASE_PATH": str(tmp_path), "PORT": "0"}
    # No Hub answers, and what the embedded model sets by its name is set here.
    settings |= {"HF_ENDPOINT": "http://127.0.0.1:9", "ENFORCE_EAGER": "1"}
    settings |= {"KV_CACHE_MEMORY_BYTES": str(2**28)}
    with volume(tmp_path), running_worker(settings) as worker:
        assert says in worker.log
        assert answers(worker)


def test_a_cached_model_is_served_without_a_question_to_the_hub(tmp_path: Path) -> None:
    """Whatever the Hub would answer: nothing, too many requests, or a newer commit."""
    asked = []

    async def answer(request: Request) -> Response:
        asked.append(request.url.path)
        return Response("not now", 429)

    put_model(tmp_path)
    settings = {"MODEL_NAME": "Owner/Small", "BASE_PATH": str(tmp_path), "PORT": "0"}
    settings |= {"KV_CACHE_MEMORY_BYTES": str(2**28), "ENFORCE_EAGER": "1"}
    hub = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "HEAD"])])
    with serving(hub) as url, running_worker(settings | {"HF_ENDPOINT": url}) as worker:
        assert "Owner/Small is read from Hugging Face's cache, commit abc" in worker.log
        assert answers(worker)
    assert not asked
