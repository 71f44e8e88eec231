"""Parts of the README and of docs/ that are made from pins, results and the table of seams."""

import re
from collections.abc import Iterator

from benchmarks.report import Results
from benchmarks.systems import CHAT, CHAT_STREAM, NATIVE
from builder import set_up
from vllm_worker.engine.patches.table import SEAMS, Seam


def pins() -> str:
    """What the worker is for, from the requirements."""
    sdk = _pinned("runpod", "cpu")
    oldest, newest = (".".join(map(str, version)) for version in (set_up.OLDEST, set_up.NEWEST))
    rows = {
        "vLLM": f"{set_up.pinned('cuda')} in the GPU image, {set_up.pinned('cpu')} on CPUs",
        "CUDA": f"{cuda_version()}, with the driver of that age",
        "RunPod SDK": sdk,
        "Python": f"{oldest} to {newest}",
        "machine": "x86-64 Linux",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def cuda_version() -> str:
    """That of the libraries that the pinned vLLM runs with."""
    return ".".join(_pinned("cuda-toolkit", "cuda").split(".")[:2])


def figures(results: Results) -> str:
    """The last benchmark in three lines: this worker as a multiple of the proxy."""
    lines = ["| load | tokens per second | CPU per token | POSTs |", "|---|---|---|---|"]
    for kind in (CHAT_STREAM, NATIVE, CHAT):
        numbers = (
            results.ratio(name, kind, 64, "proxy")
            for name in ("tokens_per_s", "cpu_per_100k", "posts")
        )
        cells = " | ".join(f"{number:.2f} ×" for number in numbers)
        lines.append(f"| 64 × {kind} | {cells} |")
    return "\n".join(lines) + "\n"


def seams() -> str:
    """The table of seams: what is replaced first, then the rest."""
    head = "| seam | used for | without it | places, the newest release first |"
    lines = [head, "|---|---|---|---|"]
    for seam in sorted(SEAMS, key=lambda seam: (not seam.replaced, seam.required)):
        lines.append(f"| {' | '.join(_seam_cells(seam))} |")
    return "\n".join(lines) + "\n"


def replaced() -> str:
    """What is replaced, and which change to vLLM would make that superfluous."""
    lines = ["| replaced | for | superfluous with |", "|---|---|---|"]
    lines += [
        f"| `{seam.name}` | {seam.use} | {seam.upstream} |" for seam in SEAMS if seam.replaced
    ]
    return "\n".join(lines) + "\n"


def _seam_cells(seam: Seam) -> Iterator[str]:
    yield f"`{seam.name}`{' (replaced)' if seam.replaced else ''}"
    yield seam.use
    yield seam.lost or "**the worker does not start**"
    yield "<br>".join(f"`{place}`" for place in seam.places)


def _pinned(package: str, build: str) -> str:
    lock = (set_up.REQUIREMENTS / f"{build}.txt").read_text()
    (version,) = re.findall(rf"^{package}==(\S+)", lock, re.M)
    return str(version)
