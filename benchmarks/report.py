"""What a run says, as tables for docs/performance.md: `builder.generate` puts them there."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures
from benchmarks.systems import CHAT, CHAT_STREAM, NATIVE, ROOT, SYSTEMS
from vllm_worker.configuration.settings import DEMO_MODEL

RESULTS = ROOT / "benchmarks" / "results" / "results.json"
"""The last whole run with the embedded model on CPUs."""

Key = tuple[str, int, float, str]
_KEY = ("kind", "streams", "latency", "system")
"""The parts of a key; the latency is in seconds."""
_ALLOWED_GAP_MS = 500 + 150
"""STREAM_MAX_DELAY_MS by default, and what a burst of posts may take."""


@dataclass(frozen=True)
class Results:
    """One run."""

    machine: dict[str, str]
    rounds: int
    medians: dict[Key, Figures]

    def figures(self, kind: str, streams: int, system: str, latency: float = 0.0) -> Figures:
        return self.medians[kind, streams, latency, system]

    def ratio(self, name: str, kind: str, streams: int, system: str, of: str = "ours") -> float:
        """Ours, or that of another system, to a system's."""
        one, other = (getattr(self.figures(kind, streams, s), name) for s in (of, system))
        return float(one / other)


@dataclass(frozen=True)
class Target:
    """A bound, and what was measured; both as multiples of `unit`."""

    figure: str
    bound: float
    measured: float
    unit: str
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.measured <= self.bound if self.at_most else self.measured >= self.bound

    def row(self) -> str:
        sign = "≤" if self.at_most else "≥"
        missed = abs(self.measured / self.bound - 1)
        verdict = "met" if self.met else f"**missed by {missed:.1%}**"
        measured = f"{self.measured:.0f}" if self.unit == "ms" else f"{self.measured:.2f}"
        return f"| {self.figure} | {sign} {self.bound:g} {self.unit} | {measured} | {verdict} |"


def results_file(model: str, gpu: str | None = None) -> Path:
    """Where the last whole run with a model is kept; `gpu` names the GPUs, if there are any."""
    if model == DEMO_MODEL and not gpu:
        return RESULTS
    name = re.sub(r"[^\w.-]+", "-", " ".join(filter(None, (gpu, model)))).strip("-.")
    return RESULTS.with_name(f"{name}.json")


def save(results: Results, file: Path) -> None:
    """Keeps them as the last whole run."""
    rows = [
        dict(zip(_KEY, key, strict=True)) | asdict(figures)
        for key, figures in results.medians.items()
    ]
    content = {"machine": results.machine, "rounds": results.rounds, "medians": rows}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


def load() -> Results:
    """The results of the last whole run with the embedded model on CPUs."""
    content: dict[str, Any] = json.loads(RESULTS.read_text())
    medians = {}
    for row in content["medians"]:
        key = tuple(row.pop(name) for name in _KEY)
        medians[key] = Figures(**row)
    return Results(content["machine"], content["rounds"], medians)


def targets(results: Results) -> Iterator[Target]:
    """What the worker is meant to reach, against what it reached."""
    ratio = results.ratio
    for kind, proxy, raw in ((CHAT_STREAM, 1.5, 0.9), (NATIVE, 1.5, 0.95), (CHAT, 1.0, 0.9)):
        speed = f"64 × {kind}, tokens/s"
        yield Target(speed, proxy, ratio("tokens_per_s", kind, 64, "proxy"), "× proxy")
        yield Target(speed, raw, ratio("tokens_per_s", kind, 64, "raw"), "× raw")
    cpu = "64 × {}, CPU per 100,000 tokens"
    for kind, system, bound in (
        (CHAT_STREAM, "proxy", 0.25),
        (NATIVE, "proxy", 0.12),
        (NATIVE, "raw", 1.3),
    ):
        measured = ratio("cpu_per_100k", kind, 64, system)
        yield Target(cpu.format(kind), bound, measured, f"× {system}", at_most=True)
    for kind in (NATIVE, CHAT_STREAM):
        first = ratio("first_p50", kind, 1, "proxy")
        yield Target(f"1 × {kind}, first token p50", 0.2, first, "× proxy", at_most=True)
        time = 1 / ratio("tokens_per_s", kind, 1, "proxy")
        yield Target(f"1 × {kind}, total time", 0.9, time, "× proxy", at_most=True)
        posts = ratio("posts", kind, 64, "proxy")
        yield Target(f"64 × {kind}, POSTs", 0.1, posts, "× proxy", at_most=True)
        gap = results.figures(kind, 64, "ours").gap_longest
        yield Target(f"64 × {kind}, longest gap", _ALLOWED_GAP_MS, gap, "ms", at_most=True)
        many, few = (results.figures(kind, n, "ours").tokens_per_s for n in (256, 64))
        yield Target(f"256 × {kind}, tokens/s", 0.95, many / few, "× ours at 64")
    yield from _http_targets(results)


def _http_targets(results: Results) -> Iterator[Target]:
    for figure, name, streams, bound in (
        ("tokens/s", "tokens_per_s", 64, 1.1),
        ("CPU per 100,000 tokens", "cpu_per_100k", 64, 0.8),
        ("first token p50", "first_p50", 1, 1.1),
    ):
        measured = results.ratio(name, CHAT_STREAM, streams, "serve", of="http")
        label = f"http: {streams} × {CHAT_STREAM}, {figure}"
        yield Target(label, bound, measured, "× serve", at_most=name != "tokens_per_s")


def targets_table(results: Results) -> str:
    """Markdown, a row per target."""
    lines = ["| figure | target | measured | |", "|---|---|---|---|"]
    return "\n".join([*lines, *(target.row() for target in targets(results))])


def table(medians: dict[Key, Figures]) -> str:
    """Markdown, a row per load and system."""
    lines = [
        "| load | a POST takes | system | tokens/s | first ms p50 / p99 | gap ms p99 / longest "
        "| POSTs | lag ms p99 / longest | CPU s per 100k | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (kind, streams, latency, name), f in sorted(medians.items(), key=_in_order):
        delayed = f"+{1000 * latency:.0f} ms" if latency else ""
        lines.append(
            f"| {streams} × {kind} | {delayed} | {name} | {f.tokens_per_s:.0f} "
            f"| {f.first_p50:.0f} / {f.first_p99:.0f} | {f.gap_p99:.0f} / {f.gap_longest:.0f} "
            f"| {f.posts:.0f} | {f.lag_p99:.0f} / {f.lag_longest:.0f} "
            f"| {f.cpu_per_100k:.1f} | {f.memory:.0f} |"
        )
    return "\n".join(lines)


def summary(results: Results) -> str:
    """All that docs/performance.md shows of a run."""
    return (
        f"{_made(results)}\n\n"
        f"{targets_table(results)}\n\n### All figures\n\n{table(results.medians)}\n"
    )


def _made(results: Results) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return f"Medians of {results.rounds} rounds. {machine}."


def _in_order(item: tuple[Key, Figures]) -> tuple[int, int, float, int]:
    kind, streams, latency, system = item[0]
    kinds = (NATIVE, CHAT_STREAM, CHAT)
    return kinds.index(kind), streams, latency, SYSTEMS.index(system)
