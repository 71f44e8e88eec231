"""`make gateway FILE=…`: the gateway in LiteLLM's environment, which is made once, and kept."""

import os
import sys
from pathlib import Path

from builder import set_up
from builder.vllm_environment import ENVIRONMENTS

VENV = ENVIRONMENTS / ".venv-gateway"


def command(file: Path) -> list[str]:
    """What starts the gateway with a file of its own; makes the environment unless it is there."""
    lock = set_up.REQUIREMENTS / "gateway.txt"
    set_up.make_environment(VENV, "gateway", [lock], "LiteLLM, some 600 MB")
    return [str(VENV / "bin" / "python"), "-m", "vllm_worker.gateway", str(file)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(set_up.ROOT / "src")}


if __name__ == "__main__":
    words = command(Path(sys.argv[1]))
    os.execve(words[0], words, environment())
