"""Which weights are read while vLLM is imported."""

from pathlib import Path

import pytest

from vllm_worker.configuration import load_configuration
from vllm_worker.startup import weights_prefetch
from vllm_worker.startup.weights_prefetch import prefetch_weights, weights


def files(**environ: str) -> list[str]:
    return [file.name for file in weights(load_configuration(environ))]


def test_the_weights_of_a_model_in_a_folder_are_prefetched(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors", "training.bin", "config.json"):
        (tmp_path / name).touch()
    assert files(MODEL_NAME=str(tmp_path)) == ["a.safetensors", "b.safetensors"]
    assert not files(MODEL_NAME=str(tmp_path), LOAD_FORMAT="dummy")


def test_the_weights_of_a_model_are_found_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    repository = tmp_path / "models--org--model"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    there = {"MODEL_NAME": "org/model", "DOWNLOAD_DIR": str(tmp_path)}
    assert files(**there) == ["model.safetensors"]
    assert not files(**there | {"MODEL_NAME": "org/other"})
    assert not files(**there | {"MODEL_REVISION": "v2"})


@pytest.mark.parametrize(("available", "read"), [(1000, True), (100, False)])
def test_weights_that_do_not_fit_into_memory_are_not_prefetched(
    available: int, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(200))
    begun: list[object] = []
    monkeypatch.setattr(weights_prefetch, "available_bytes", lambda: available)
    monkeypatch.setattr(weights_prefetch, "_read", begun.append)
    prefetch_weights(load_configuration({"MODEL_NAME": str(tmp_path)}))
    assert bool(begun) is read
