"""A start of the worker on GPUs that are not there, and what came of it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NO_GPU = "No GPU can be used"
_START_S = 280


@dataclass(frozen=True)
class Start:
    """The exit code, the lines of the log, and the processes that called CUDA."""

    process: int
    code: int
    lines: list[str]
    callers: set[int]

    @property
    def reason(self) -> str:
        return self.lines[-1]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Driver:
    """The folder with the libraries that stand in for NVIDIA's."""

    folder: Path

    def environment(self, gpus: int) -> dict[str, str]:
        """Variables with which vLLM finds so many GPUs."""
        visible = ",".join(map(str, range(gpus)))
        found = {"LD_LIBRARY_PATH": str(self.folder), "STUB_GPUS": str(gpus)}
        return found | {"CUDA_VISIBLE_DEVICES": visible}

    def start(self, folder: Path, gpus: int = 1, **variables: str) -> Start:
        """Start the worker, which must end by itself; `folder` is for what it writes."""
        calls = folder / "calls of CUDA"
        given = self.environment(gpus) | {"STUB_CUDA_LOG": str(calls)}
        return start(folder, given | variables, calls)


def start(folder: Path, variables: dict[str, str], calls: Path) -> Start:
    usual = {"PATH": os.environ["PATH"], "HOME": str(folder), "PORT": "0"}
    worker = subprocess.Popen(
        [sys.executable, "handler.py"],
        cwd=ROOT,
        env={**usual, "PYTHONPATH": "src", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        log, _ = worker.communicate(timeout=_START_S)
    finally:
        worker.kill()
    called = calls.read_text().split() if calls.exists() else []
    return Start(worker.pid, worker.returncode, log.splitlines(), set(map(int, called)))
