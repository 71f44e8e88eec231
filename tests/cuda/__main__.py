"""`make test-cuda`: the tests of this folder with the CUDA build of vLLM, and no GPU.

Its environment takes some 9 GB. It is made once, and kept.
"""

import os
import sys

from builder import set_up
from builder.vllm_environment import ENVIRONMENTS

VENV = ENVIRONMENTS / ".venv-cuda"

if __name__ == "__main__":
    locks = [set_up.lock_of("cuda", None), set_up.REQUIREMENTS / "dev.txt"]
    set_up.make_environment(VENV, "cuda", locks, "the CUDA build of vLLM, some 9 GB")
    os.chdir(set_up.ROOT)
    python = str(VENV / "bin" / "python")
    environment = os.environ | {"PYTHONPATH": str(set_up.ROOT / "src")}
    os.execve(python, [python, "-m", "pytest", "tests/cuda", *sys.argv[1:]], environment)
