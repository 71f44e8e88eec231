"""`make bench-gateway`: what the gateway costs before a worker in HTTP mode.

The worker is asked directly and through the gateway, in turns. Writes
benchmarks/results/gateway.json, of which `make generate` makes a table in docs/gateway.md.
"""

import argparse
import asyncio
import re
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import uvloop

from benchmarks.__main__ import machine, say
from benchmarks.figures import Figures, measure, median
from benchmarks.gateway_report import GatewayFigures, save, summary
from benchmarks.systems import (
    CHAT_STREAM,
    MODEL,
    Case,
    Setup,
    System,
    asking,
    free_port,
    open_session,
    python_process,
    settings,
    until_answering,
)
from builder import gateway
from vllm_worker.configuration.settings import DEMO_MODEL

_STREAMS = (1, 64)
_TOKENS = 256
_ROUNDS = 5
_START_S = 180
_FILE = """
port: 0
providers: {{worker: {{url: "{url}/v1"}}}}
models: {{default/{model}: [{{provider: worker, model: {model}}}]}}
"""


async def run(rounds: int) -> GatewayFigures:
    figures: dict[tuple[int, str], list[Figures]] = defaultdict(list)
    setup = Setup(Path(tempfile.mkdtemp(prefix="benchmark-")), settings(DEMO_MODEL))
    async with _systems(setup) as systems:
        for number in range(-1, rounds):  # the first one is to warm up
            for streams in _STREAMS:
                case = Case(CHAT_STREAM, streams, 0.0, _TOKENS)
                for system in systems if number % 2 else reversed(systems):
                    found = await measure(system, case)
                    say(f"round {number + 1} of {rounds}: {case.name}, {system.name}: "
                        f"{found.tokens_per_s:.0f} tokens/s")  # fmt: skip
                    if number >= 0:
                        figures[streams, system.name].append(found)
    middle = {key: median(rows) for key, rows in figures.items()}
    return GatewayFigures(
        machine(),
        rounds,
        tokens_per_s={name: middle[64, name].tokens_per_s for name in ("direct", "gateway")},
        first_ms={name: middle[1, name].first_p50 for name in ("direct", "gateway")},
        cpu_per_100k={name: middle[64, name].cpu_per_100k for name in ("direct", "gateway")},
    )


@asynccontextmanager
async def _systems(setup: Setup) -> AsyncIterator[list[System]]:
    """The worker, and the gateway before the same worker."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    door = {**setup.settings, "WORKER_MODE": "http", "PORT": str(port)}
    async with (
        python_process("http", ["handler.py"], door, setup.logs) as worker,
        open_session(url) as direct,
    ):
        await until_answering(direct, worker, "/ping")
        async with _gateway(setup, url) as (process, there), open_session(there) as through:
            roots = [psutil.Process(worker.pid)]
            both = [*roots, psutil.Process(process.pid)]
            yield [
                System("direct", roots, asking(direct, lambda case: (case.route, case.body))),
                System("gateway", both, asking(through, _by_entity)),
            ]


def _by_entity(case: Case) -> tuple[str, dict[str, object]]:
    return case.route, case.body | {"model": f"default/{MODEL}"}


@asynccontextmanager
async def _gateway(setup: Setup, url: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Its process, and its URL."""
    file = setup.logs / "gateway.yaml"
    file.write_text(_FILE.format(url=url, model=MODEL))
    log = setup.logs / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *gateway.command(file), env=gateway.environment(), stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(_START_S):
            while not (found := re.search(r"serving on (\S+)/v1", log.read_text())):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.2)
        async with open_session(found[1]) as session:
            await until_answering(session, process, "/health")
        yield process, found[1]
    finally:
        process.terminate()
        await process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="What the gateway costs.")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    results = uvloop.run(run(parser.parse_args().rounds))
    save(results)
    print(summary(results))


if __name__ == "__main__":
    main()
