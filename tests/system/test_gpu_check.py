"""The checks of a GPU, all of them, on the CPU engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.worker_process import ENVIRONMENT, ROOT


def test_every_check_passes_on_the_cpu_engine(tmp_path: Path) -> None:
    report = tmp_path / "page"
    command = ["-m", "vllm_worker", "gpu-check", "--without-gpu", "--report", str(report)]
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | {"MODEL_NAME": ""},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    results = json.loads(report.with_suffix(".json").read_text())["checks"]
    verdicts = {result["name"]: result["verdict"] for result in results}
    assert verdicts.pop("start on two GPUs") == "skipped"
    assert set(verdicts.values()) == {"passed"}, ran.stdout + ran.stderr
    assert len(verdicts) >= 14
    assert ran.returncode == 0
    assert "on a machine without a GPU" in report.with_suffix(".md").read_text()
