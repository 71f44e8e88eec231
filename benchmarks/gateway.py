"""`make bench-gateway`: what the gateway costs before a worker in HTTP mode.

The worker is asked directly, through the gateway, and through two of them, in turns. Writes
benchmarks/results/gateway.json, of which `make generate` makes a table in docs/gateway.md.
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import psutil
import uvloop

from benchmarks.__main__ import machine, say
from benchmarks.figures import Figures, measure, median
from benchmarks.gateway_report import GatewayFigures, save, summary
from benchmarks.systems import (
    CHAT_STREAM,
    MODEL,
    Answer,
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
_CACHED = 30
_ROUNDS = 5
_START_S = 180
_FILE = """
port: 0
providers: {{worker: {{url: "{url}/v1"}}}}
models: {{default/{model}: [{{provider: worker, model: {model}}}]}}
cache: {{kind: memory}}
"""


async def run(rounds: int) -> GatewayFigures:
    figures: dict[tuple[int, str], list[Figures]] = defaultdict(list)
    setup = Setup(Path(tempfile.mkdtemp(prefix="benchmark-")), settings(DEMO_MODEL))
    async with _systems(setup) as (systems, session):
        for number in range(-1, rounds):  # the first one is to warm up
            for streams in _STREAMS:
                case = Case(CHAT_STREAM, streams, 0.0, _TOKENS)
                for system in systems if number % 2 else reversed(systems):
                    found = await measure(system, case)
                    say(f"round {number + 1} of {rounds}: {case.name}, {system.name}: "
                        f"{found.tokens_per_s:.0f} tokens/s")  # fmt: skip
                    if number >= 0:
                        figures[streams, system.name].append(found)
        cached_ms = await _cached_ms(session)
    middle = {key: median(rows) for key, rows in figures.items()}
    names = [system.name for system in systems]
    return GatewayFigures(
        machine(),
        rounds,
        tokens_per_s={name: middle[64, name].tokens_per_s for name in names},
        first_ms={name: middle[1, name].first_p50 for name in names},
        cpu_per_100k={name: middle[64, name].cpu_per_100k for name in names},
        cached_ms=cached_ms,
    )


async def _cached_ms(session: aiohttp.ClientSession) -> float:
    """The median time of an answer that the gateway has."""
    path, body = _by_entity(Case(CHAT_STREAM, 1, 0.0, _TOKENS))
    body |= {"stream": False, "cache": {"ttl": 600}}
    times = []
    for _ in range(_CACHED + 1):
        begun = time.perf_counter()
        async with session.post(path, json=body) as answer:
            await answer.read()
        times.append(time.perf_counter() - begun)
        how = answer.headers["x-cache"]
        assert how == ("hit" if len(times) > 1 else "miss"), how
    return 1000 * statistics.median(times[1:])


@asynccontextmanager
async def _systems(setup: Setup) -> AsyncIterator[tuple[list[System], aiohttp.ClientSession]]:
    """The worker, one gateway and two before the same worker; who asks the first gateway."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    door = {**setup.settings, "WORKER_MODE": "http", "PORT": str(port)}
    async with (
        python_process("http", ["handler.py"], door, setup.logs) as worker,
        open_session(url) as direct,
    ):
        await until_answering(direct, worker, "/ping")
        async with (
            _gateway(setup, url, "first") as (one, first_url),
            _gateway(setup, url, "second") as (other, second_url),
            open_session(first_url) as first,
            open_session(second_url) as second,
        ):
            roots = [psutil.Process(worker.pid)]
            both = [*roots, psutil.Process(one.pid)]
            ask_one, ask_other = asking(first, _by_entity), asking(second, _by_entity)

            async def ask_both(case: Case) -> list[Answer]:
                half = replace(case, streams=(case.streams + 1) // 2)
                rest = replace(case, streams=case.streams // 2)
                first_half, second_half = await asyncio.gather(ask_one(half), ask_other(rest))
                return first_half + second_half

            yield (
                [
                    System("direct", roots, asking(direct, lambda case: (case.route, case.body))),
                    System("gateway", both, ask_one),
                    System("two gateways", [*both, psutil.Process(other.pid)], ask_both),
                ],
                first,
            )


def _by_entity(case: Case) -> tuple[str, dict[str, object]]:
    return case.route, case.body | {"model": f"default/{MODEL}"}


@asynccontextmanager
async def _gateway(
    setup: Setup, url: str, name: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Its process, and its URL."""
    file = setup.logs / "gateway.yaml"
    file.write_text(_FILE.format(url=url, model=MODEL))
    log = setup.logs / f"{name}.log"
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
