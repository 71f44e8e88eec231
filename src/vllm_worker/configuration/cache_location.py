"""Where compiled code is kept: by vLLM's version, the kind of machine and the model."""

import os
import re
import subprocess
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
    "MINFER_FMHA_CACHE_DIR": "minfer",  # vLLM's sparse attention on Blackwell
    "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR": "flash-attention",
    "FLEX_ATTENTION_CUTE_DSL_CACHE_DIR": "flex-attention",
    "B12X_COMPILE_CACHE_DIR": "b12x",  # FlashInfer's kernels for the newest GPUs
    "CUDNN_FRONTEND_CAKE_CACHE_DIR": "cudnn",
    "CUDA_TILE_CACHE_DIR": "cutile",
    "HF_MODULES_CACHE": "modules",  # models' own code: transformers copies it there in place
}
"""Environment variable → folder."""

_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
_NVIDIA_SMI_S = 10


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
) -> CacheLocation | None:
    """The location for one model on this machine, if it is known what machine this is.

    Compilers' own keys have the model's configuration and, for most of them, the kind of GPU. What
    they lack is which instructions a CPU has, and which of two kinds of one architecture a kernel
    was tuned for.
    """
    kind = machine(gpus)
    if not kind:
        return None
    home = environ.get("XDG_CACHE_HOME") or "~/.cache"
    which = Path(vllm_version(), kind, _name(model.replace("/", "--")))
    folder = Path(os.path.expanduser(home)) / "vllm-worker" / which  # noqa: PTH111 (never raises)
    archive = volume / "vllm-worker-cache" / f"{which}.tar"
    return CacheLocation(folder, archive, keep)


def machine(gpus: int, proc: Path = Path("/proc")) -> str:
    """The kind of GPU, or of CPU where there is none, without asking CUDA; "" if nobody knows."""
    if gpus:
        texts = [path.read_text() for path in proc.glob("driver/nvidia/gpus/*/information")]
        return _name("+".join(sorted(set(_all("Model", texts) or _asked_of_the_driver()))))
    cpu = (proc / "cpuinfo").read_text()
    kind = "".join(_all("model name", [cpu])[:1])
    flags = "".join(_all("flags", [cpu])[:1])
    return _name(f"{kind} {sha256(flags.encode()).hexdigest()[:8]}")


def _asked_of_the_driver() -> list[str]:
    """The names of the GPUs, where the container does not show the driver's files."""
    try:
        asked = subprocess.run(
            _NVIDIA_SMI, capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in asked.stdout.splitlines() if line.strip()]


def _all(key: str, texts: list[str]) -> list[str]:
    pattern = re.compile(rf"^{key}\s*:\s*(.+)$", re.MULTILINE)
    return [found.strip() for text in texts for found in pattern.findall(text)]


def _name(text: str) -> str:
    """As the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:100]
