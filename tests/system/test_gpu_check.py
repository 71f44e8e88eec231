"""The checks of a GPU, all of them, on the CPU engine."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.worker_process import ENVIRONMENT, ROOT


@pytest.mark.timeout(900)
def test_every_check_passes_on_the_cpu_engine(tmp_path: Path) -> None:
    report = tmp_path / "page"
    command = ["-m", "vllm_worker", "gpu-check", "--without-gpu", "--report", str(report)]
    checking = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | {"MODEL_NAME": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = checking.communicate(timeout=800)
    finally:
        checking.send_signal(signal.SIGTERM)  # it ends what it has started
        checking.wait(60)
    results = json.loads(report.with_suffix(".json").read_text())["checks"]
    verdicts = {result["name"]: result["verdict"] for result in results}
    assert verdicts.pop("start on two GPUs") == "skipped"
    assert set(verdicts.values()) == {"passed"}, said
    assert len(verdicts) >= 14
    assert checking.returncode == 0
    assert "on a machine without a GPU" in report.with_suffix(".md").read_text()
