"""What benchmarks.cold_start measured, as tables for docs/cold-start.md."""

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks.report import RESULTS

FILE = RESULTS.with_name("cold-start.json")
KINDS = ("native", "chat", "tools", "JSON schema", "log-probabilities")
"""Of first jobs, in the order in which they are asked."""
TARGET = 0.85
_SLACK, _SLACK_MS = 1.5, 50


@dataclass(frozen=True)
class FirstJob:
    """Milliseconds of the first job of a kind after a start, and the median of those after it."""

    first: float
    following: float

    @property
    def allowed(self) -> float:
        return _SLACK * self.following + _SLACK_MS


@dataclass(frozen=True)
class ColdStarts:
    """One run. Each list has a value per start, in seconds; `compiled` holds pairs of the first and
    the second start on a volume."""

    machine: dict[str, str]
    ours: list[float]
    proxy: list[float]
    parts: list[dict[str, float]]
    first_jobs: list[dict[str, FirstJob]]
    compiled: list[list[float]]


def save(results: ColdStarts) -> None:
    FILE.write_text(json.dumps(asdict(results), indent=1) + "\n")


def load() -> ColdStarts:
    content = json.loads(FILE.read_text())
    content["first_jobs"] = [
        {kind: FirstJob(**job) for kind, job in start.items()} for start in content["first_jobs"]
    ]
    return ColdStarts(**content)


def summary(results: ColdStarts) -> str:
    """All that docs/cold-start.md shows of a run."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = (
        f"Starts of each: {len(results.ours)}, of which these are the medians. {machine}.",
        "\n".join(_starts(results)),
        "The parts of this worker's start, as its log has them:",
        "\n".join(_parts(results)),
        f"First jobs: at most {_SLACK} × the median of those after it and {_SLACK_MS} ms more.",
        "\n".join(_first_jobs(results)),
    )
    return "\n\n".join(parts) + "\n"


def _starts(results: ColdStarts) -> Iterator[str]:
    ours, proxy = statistics.median(results.ours), statistics.median(results.proxy)
    first, second = map(statistics.median, zip(*results.compiled, strict=True))
    yield "| from the start of the process to the first job-take | s | ratio | target | |"
    yield "|---|---|---|---|---|"
    yield f"| the usual design | {proxy:.1f} | | | |"
    yield f"| this worker | {ours:.1f} | {_ratio(ours / proxy, TARGET)}"
    yield f"| this worker, model compiled, empty volume | {first:.1f} | | | |"
    yield f"| this worker, model compiled, same volume again | {second:.1f} | " + _ratio(
        second / first, 1
    )


def _ratio(ratio: float, target: float) -> str:
    return f"{ratio:.2f} | ≤ {target:g} | {'met' if ratio <= target else '**missed**'} |"


def _parts(results: ColdStarts) -> Iterator[str]:
    yield "| part | s |"
    yield "|---|---|"
    for part in results.parts[0]:
        seconds = statistics.median(start.get(part, 0.0) for start in results.parts)
        yield f"| {part} | {seconds:.1f} |"


def _first_jobs(results: ColdStarts) -> Iterator[str]:
    yield "| kind | first, ms | those after it, ms | allowed, ms | kept to |"
    yield "|---|---|---|---|---|"
    for kind in KINDS:
        jobs = [start[kind] for start in results.first_jobs]
        figures = (
            statistics.median(getattr(job, name) for job in jobs)
            for name in ("first", "following", "allowed")
        )
        kept = sum(job.first <= job.allowed for job in jobs)
        cells = " | ".join(f"{figure:.0f}" for figure in figures)
        yield f"| {kind} | {cells} | {kept} of {len(jobs)} |"
