"""What a run came to: figures from the times of chunks and from the processes' own counters."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import pairwise

import psutil

from benchmarks import lag
from benchmarks.platform import Answer
from benchmarks.systems import Case, System


@dataclass(frozen=True)
class Figures:
    """Of one case on one system. Times in milliseconds, memory in MB."""

    tokens_per_s: float
    first_p50: float
    first_p99: float
    gap_p99: float
    gap_longest: float
    posts: int
    lag_p99: float
    lag_longest: float
    """How late the event loop of the process that takes jobs is; 0 where there is none."""
    cpu_per_100k: float
    """Seconds of CPU of all processes other than the engine's, per 100,000 tokens."""
    memory: float


async def measure(system: System, case: Case) -> Figures:
    """Runs a case once."""
    processes = system.processes
    posts = system.platform.posts if system.platform else 0
    before = _cpu_seconds(processes)
    answers = await system.ask_all(case)
    cpu = _cpu_seconds(processes) - before
    tokens = case.tokens * case.streams
    begun, ended = min(a.begun for a in answers), max(a.ended for a in answers)
    lags = lag.read(system.lag_file, begun, ended) if system.lag_file else []
    firsts = [1000 * ((a.chunks or [a.ended])[0] - a.begun) for a in answers]
    gaps = [1000 * gap for answer in answers for gap in _gaps(answer)] or [0.0]
    return Figures(
        tokens_per_s=tokens / (ended - begun),
        first_p50=statistics.median(firsts),
        first_p99=_p99(firsts),
        gap_p99=_p99(gaps),
        gap_longest=max(gaps),
        posts=system.platform.posts - posts if system.platform else 0,
        lag_p99=_p99(lags or [0.0]),
        lag_longest=max(lags, default=0.0),
        cpu_per_100k=cpu * 100_000 / tokens,
        # Shared pages count once: the SDK forks a process for its pings.
        memory=sum(process.memory_full_info().pss for process in processes) / 1e6,
    )


def median(rounds: Iterable[Figures]) -> Figures:
    """Each figure's median over the rounds."""
    rows = [asdict(figures) for figures in rounds]
    return Figures(
        **{
            field.name: statistics.median(row[field.name] for row in rows)
            for field in fields(Figures)
        }
    )


def _gaps(answer: Answer) -> list[float]:
    return [after - before for before, after in pairwise(answer.chunks)]


def _p99(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
