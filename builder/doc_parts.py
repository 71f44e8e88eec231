"""Parts of the README and of docs/ that are generated from pins, results and the table of seams."""

import re
import statistics
from collections.abc import Iterator

from benchmarks.cold_start_report import ColdStarts
from benchmarks.report import Results
from benchmarks.systems import CHAT, CHAT_STREAM, NATIVE
from builder import set_up
from vllm_worker.engine.patches.table import SEAMS, Seam


def pins() -> str:
    """The versions that the worker is made for, from the requirements."""
    oldest, newest = (".".join(map(str, version)) for version in (set_up.OLDEST, set_up.NEWEST))
    rows = {
        "vLLM": f"{set_up.pinned('cuda')} in the GPU image, {set_up.pinned('cpu')} on CPUs",
        "CUDA": f"{cuda_version()}; [12.9](docs/deployment.md#targets) for older drivers",
        "RunPod SDK": _pinned("runpod", "cpu"),
        "Python": f"{oldest} to {newest}",
        "Platform": "x86-64 Linux",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def cuda_version() -> str:
    """That of the libraries that the pinned vLLM runs with."""
    return ".".join(_pinned("cuda-toolkit", "cuda").split(".")[:2])


def figures(results: Results, starts: ColdStarts) -> str:
    """The last benchmarks in a few lines: this worker as a multiple of the proxy."""
    machine = results.machine
    where = f"{machine['cores']} CPU cores, vLLM {_vllm(machine)}"
    head = (
        "| 64 concurrent jobs | tokens per second | CPU time per token, without the engine | POSTs"
    )
    lines = [
        f"Medians of {results.rounds} rounds on {where}, as a multiple of the usual design:",
        "",
        f"{head} |",
        "|---|---|---|---|",
    ]
    for kind in (CHAT_STREAM, NATIVE, CHAT):
        numbers = (
            results.ratio(name, kind, 64, "proxy")
            for name in ("tokens_per_s", "cpu_per_100k", "posts")
        )
        cells = " | ".join(f"{number:.2f} ×" for number in numbers)
        lines.append(f"| {kind} | {cells} |")
    first = results.ratio("first_p50", CHAT_STREAM, 1, "proxy")
    ours, usual = statistics.median(starts.ours), statistics.median(starts.proxy)
    seconds = f"{ours:.1f} s instead of {usual:.1f} s"
    lines += [
        "",
        f"The first token of a single chat stream takes {first:.2f} × as long. A start, up to the",
        f"first job-take, takes {ours / usual:.2f} × as long ({seconds}).",
    ]
    return "\n".join(lines) + "\n"


def _vllm(machine: dict[str, str]) -> str:
    return next(version for name, version in machine.items() if name.startswith("vllm"))


def seams() -> str:
    """The table of seams: what is replaced first, then the rest."""
    head = "| seam | used for | without it | places, the newest release first |"
    lines = [head, "|---|---|---|---|"]
    for seam in sorted(SEAMS, key=lambda seam: (not seam.replaced, seam.required)):
        lines.append(f"| {' | '.join(_seam_cells(seam))} |")
    return "\n".join(lines) + "\n"


def replaced() -> str:
    """The replaced attributes, and the change to vLLM that would make each patch unnecessary."""
    lines = ["| replaced | used for | unnecessary with |", "|---|---|---|"]
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
