"""The timeline of a start, and what is read ahead."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vllm_worker.configuration import load_configuration
from vllm_worker.observability.timeline import Timeline
from vllm_worker.startup.weights_prefetch import weights


def test_the_parts_of_a_start_add_up_to_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logging.getLogger("vllm_worker").propagate = True
    timeline = Timeline(100.0, iter([104.0, 109.5, 111.0]).__next__)
    for part in ("imports", "engine", "imports"):
        timeline.end(part)
    timeline.note("engine", "weights", 3.14)
    timeline.log()
    assert "11.0 s after the start: imports 5.5, engine 5.5 (weights 3.1)" in caplog.text


def test_a_start_is_counted_from_that_of_the_process() -> None:
    script = (
        "import time; time.sleep(0.5)\n"
        "from vllm_worker.observability.timeline import process_started\n"
        "print(time.monotonic() - process_started())"
    )
    before = time.monotonic()
    seconds = float(subprocess.check_output([sys.executable, "-c", script]))
    assert 0.5 <= seconds <= time.monotonic() - before + 0.05  # a hundredth is a tick of the system


def files(**environ: str) -> list[str]:
    return [file.name for file in weights(load_configuration(environ))]


def test_the_weights_of_a_model_in_a_folder_are_read_ahead(tmp_path: Path) -> None:
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
