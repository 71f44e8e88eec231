"""What benchmarks.gateway measured, as a table for docs/gateway.md."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks.report import RESULTS

FILE = RESULTS.with_name("gateway.json")
_MOST_TIME, _MOST_MS, _MOST_CACHED_MS = 1.3, 15, 20


@dataclass(frozen=True)
class GatewayFigures:
    """One run, by what was asked: `direct`, the worker; or `gateway`, one before the same worker;
    or `two gateways`, with half of the streams each.
    """

    machine: dict[str, str]
    rounds: int
    tokens_per_s: dict[str, float]
    first_ms: dict[str, float]
    cpu_per_100k: dict[str, float]
    cached_ms: float
    """Of a request whose answer the gateway has."""


def save(results: GatewayFigures) -> None:
    FILE.write_text(json.dumps(asdict(results), indent=1) + "\n")


def load() -> GatewayFigures:
    return GatewayFigures(**json.loads(FILE.read_text()))


def summary(results: GatewayFigures) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return f"Medians of {results.rounds} rounds. {machine}.\n\n" + "\n".join(_rows(results)) + "\n"


def _rows(results: GatewayFigures) -> Iterator[str]:
    yield "| figure | directly | through the gateway | target | |"
    yield "|---|---|---|---|---|"
    speed, first, cpu = results.tokens_per_s, results.first_ms, results.cpu_per_100k
    slower, later = speed["direct"] / speed["gateway"], first["gateway"] - first["direct"]
    yield (
        f"| 64 chat streams, tokens/s | {speed['direct']:.0f} | {speed['gateway']:.0f} | "
        f"≤ {_MOST_TIME} × the time: {slower:.2f} | {_met(slower <= _MOST_TIME)} |"
    )
    yield (
        f"| 1 chat stream, first token, ms | {first['direct']:.1f} | {first['gateway']:.1f} | "
        f"≤ {_MOST_MS} ms more: {later:.1f} | {_met(later <= _MOST_MS)} |"
    )
    yield (
        f"| the same request again, from the cache, ms | | {results.cached_ms:.1f} | "
        f"≤ {_MOST_CACHED_MS} | {_met(results.cached_ms <= _MOST_CACHED_MS)} |"
    )
    yield (
        f"| 64 chat streams, through two gateways, tokens/s | {speed['direct']:.0f} | "
        f"{speed['two gateways']:.0f} | | |"
    )
    yield f"| CPU s per 100,000 tokens | {cpu['direct']:.1f} | {cpu['gateway']:.1f} | | |"


def _met(is_met: bool) -> str:
    return "met" if is_met else "**missed**"
