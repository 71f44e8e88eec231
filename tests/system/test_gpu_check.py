"""The checks of a GPU, all of them, on the CPU engine."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import command_line
from tests.support.worker_process import ENVIRONMENT, MEASURED


@pytest.mark.timeout(900)
def test_every_check_passes_on_the_cpu_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in MEASURED:
        monkeypatch.delenv(name)  # of the many workers that it starts
    report = tmp_path / "page"
    words = ("gpu-check", "--without-gpu", "--report", str(report))
    checked = command_line(*words, **ENVIRONMENT | {"MODEL_NAME": ""})
    results = json.loads(report.with_suffix(".json").read_text())["checks"]
    verdicts = {result["name"]: result["verdict"] for result in results}
    assert verdicts.pop("start on two GPUs") == "skipped"
    assert set(verdicts.values()) == {"passed"}, checked.stdout
    assert len(verdicts) >= 14
    assert checked.returncode == 0
    assert "on a machine without a GPU" in report.with_suffix(".md").read_text()
