"""Options are described alike by both builds of vLLM."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.starts import NO_GPU, ROOT, Driver
from vllm_worker.configuration.settings import DEMO_MODEL


@pytest.mark.parametrize("gpus", [0, 1])
def test_generated_files_are_current_with_the_cuda_build(gpus: int, stand_in: Driver) -> None:
    """Those that are described by vLLM itself are described by the CPU build's release."""
    environment = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": "src"}
    environment |= stand_in.environment(gpus) if gpus else {}
    command = [sys.executable, "-m", "builder.generate", "--check"]
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_choice_that_the_cpu_build_does_not_have_is_taken(
    stand_in: Driver, tmp_path: Path
) -> None:
    ended = stand_in.start(tmp_path, MODEL_NAME=DEMO_MODEL, MM_PROCESSOR_DEVICE="cuda")
    assert NO_GPU in ended.reason, ended.text


def test_a_choice_that_no_build_has_is_refused(stand_in: Driver, tmp_path: Path) -> None:
    ended = stand_in.start(tmp_path, MODEL_NAME=DEMO_MODEL, MM_PROCESSOR_DEVICE="npu")
    assert ended.code == 2
    assert "MM_PROCESSOR_DEVICE" in ended.reason, ended.text
