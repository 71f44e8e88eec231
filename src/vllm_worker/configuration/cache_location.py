"""Where compiled code is kept: by vLLM's version, the kind of machine and the model."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from vllm_worker.configuration.catalogue import vllm_version

_VARIABLES = {
    "VLLM_CACHE_ROOT": "vllm",  # DeepGEMM's, FlashInfer's tuning and the model's compiled code
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TILELANG_CACHE_DIR": "tilelang",
    "CUTE_DSL_CACHE_DIR": "cute",
    "HUMMING_CACHE_DIR": "humming",  # weight-only quantized models on Hopper
    "QUACK_CACHE_DIR": "quack",
    "TVM_FFI_CACHE_DIR": "tvm-ffi",
    "CUPY_CACHE_DIR": "cupy",
    "HF_MODULES_CACHE": "modules",  # models' own code: transformers copies it there in place
}
"""Environment variable → folder."""


@dataclass(frozen=True)
class CacheLocation:
    """`folder` is where the compilers write, `archive` what is on the volume, and `keep` says
    whether it may be written.
    """

    folder: Path
    archive: Path
    keep: bool

    @property
    def library_env(self) -> dict[str, str]:
        """The environment variables that lead compilers to the folder."""
        return {name: str(self.folder / part) for name, part in _VARIABLES.items()}


def cache_location(
    environ: Mapping[str, str], volume: Path, keep: bool, model: str, gpus: int
) -> CacheLocation:
    """The location for one model on this machine.

    Compilers' own keys have the model's configuration and, for most of them, the kind of GPU. What
    they lack is which instructions a CPU has, and which of two kinds of one architecture a kernel
    was tuned for.
    """
    home = environ.get("XDG_CACHE_HOME") or "~/.cache"
    which = Path(vllm_version(), machine(gpus), _name(model.replace("/", "--")))
    folder = Path(os.path.expanduser(home)) / "vllm-worker" / which  # noqa: PTH111 (never raises)
    return CacheLocation(folder, volume / "vllm-worker-cache" / f"{which}.tar", keep)


def machine(gpus: int, proc: Path = Path("/proc")) -> str:
    """The kind of GPU, or of CPU where there is none, without asking CUDA."""
    if gpus:
        texts = [path.read_text() for path in proc.glob("driver/nvidia/gpus/*/information")]
        return _name("+".join(sorted(set(_all("Model", texts))))) or "gpu"
    cpu = (proc / "cpuinfo").read_text()
    kind = "".join(_all("model name", [cpu])[:1])
    flags = "".join(_all("flags", [cpu])[:1])
    return _name(f"{kind} {sha256(flags.encode()).hexdigest()[:8]}")


def _all(key: str, texts: list[str]) -> list[str]:
    pattern = re.compile(rf"^{key}\s*:\s*(.+)$", re.MULTILINE)
    return [found.strip() for text in texts for found in pattern.findall(text)]


def _name(text: str) -> str:
    """As the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:100]
