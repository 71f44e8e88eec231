"""`python -m benchmarks.engine_options`: what vLLM's options do to this worker, three rounds.

Each variation is a worker of its own, measured while the others sleep. Prints a table for
docs/performance.md.
"""

import asyncio
import statistics
import tempfile
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import uvloop

from benchmarks import systems
from benchmarks.figures import measure
from benchmarks.systems import NATIVE, Case, Setup, System, settings

VARIATIONS: dict[str, dict[str, str]] = {
    "the worker's defaults": {},
    "ASYNC_SCHEDULING=0": {"ASYNC_SCHEDULING": "0"},
    "ENABLE_CHUNKED_PREFILL=0": {"ENABLE_CHUNKED_PREFILL": "0"},
    "ENABLE_PREFIX_CACHING=0": {"ENABLE_PREFIX_CACHING": "0"},
    "MAX_NUM_BATCHED_TOKENS=512": {"MAX_NUM_BATCHED_TOKENS": "512"},
    "STREAM_INTERVAL=10": {"STREAM_INTERVAL": "10"},
}
_ROUNDS = 3
_LONG = "RunPod runs serverless workers on GPUs. " * 45  # some 1,000 tokens


async def run() -> dict[str, list[tuple[float, ...]]]:
    """Per variation and round: tokens/s and CPU of 64 streams, first token of a long prompt that
    was seen before, and the longest gap of 8 streams while 8 long prompts come in.
    """
    figures: dict[str, list[tuple[float, ...]]] = {name: [] for name in VARIATIONS}
    logs = Path(tempfile.mkdtemp(prefix="benchmark-"))
    async with AsyncExitStack() as stack:
        running: dict[str, System] = {}
        for number, (name, environment) in enumerate(VARIATIONS.items()):
            folder = logs / str(number)
            folder.mkdir()
            setup = Setup(folder, settings("demo") | environment)
            (system,) = await stack.enter_async_context(systems.ours(setup))
            async with system.awake():
                await system.ask_all(Case(NATIVE, 64, 0.0, 64))
            running[name] = system
        for _ in range(_ROUNDS):
            for name, system in running.items():
                async with system.awake():
                    figures[name].append(await _figures(system))
                    print(name, *(f"{figure:.1f}" for figure in figures[name][-1]), flush=True)
    return figures


async def _figures(system: System) -> tuple[float, ...]:
    load = await measure(system, Case(NATIVE, 64, 0.0, 256))
    await _first_token(system, "seen")
    seen = await _first_token(system, "seen")
    job = Case(NATIVE, 1, 0.0, 300).job | {"max_batch_size": 1}
    assert system.platform
    streams = [asyncio.create_task(system.platform.ask(job)) for _ in range(8)]
    await asyncio.sleep(0.6)
    await asyncio.gather(*(_first_token(system, str(number)) for number in range(8)))
    answers = [answer for answer, _ in await asyncio.gather(*streams)]
    gap = max(after - before for a in answers for before, after in pairwise(a.chunks))
    return load.tokens_per_s, load.cpu_per_100k, seen, 1000 * gap


async def _first_token(system: System, beginning: str) -> float:
    """Milliseconds from a long prompt to its first token."""
    assert system.platform
    job = {"prompt": f"{beginning} {_LONG}", "sampling_params": {"max_tokens": 1}, "stream": True}
    answer, _ = await system.platform.ask(job)
    return 1000 * (answer.chunks[0] - answer.begun)


def main() -> None:
    print("| | tokens/s | CPU s per 100k | first token of a prompt seen before, ms | gap, ms |")
    print("|---|---|---|---|---|")
    for name, rounds in uvloop.run(run()).items():
        cells = [f"{statistics.median(column):.4g}" for column in zip(*rounds, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
