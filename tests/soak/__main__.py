"""`make soak`: thousands of jobs on the real engine and SDK, and nothing may be left of them.

.venv/bin/python -m tests.soak [--http] [--jobs 10000] [--seed 0]

With --http, jobs come as HTTP requests and not from RunPod's queue.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import httpx

from tests.soak.clients import Played, Player
from tests.soak.plan import PlannedJob, plan
from tests.soak.rig import Holdings, Rig, running_http_rig, running_rig

_CLIENTS, _MAX_CONCURRENCY = 48, 32
"""More clients than the worker holds jobs, so that some are cancelled in the queue."""
_SAMPLE = 0.01
"""Share of the jobs that are asked once more, alone; but not less than 20."""
_MOST_GROWTH = 50e6
_PROGRESS = 500


def soak(rig: Rig, jobs: int, warm_up: int, seed: int) -> list[str]:
    """What went wrong, a line each. What the worker holds after `warm_up` jobs is the measure."""
    planned = list(plan(jobs, seed, rig.fates))
    played = asyncio.run(_play(rig, planned[:warm_up], _CLIENTS))
    before = rig.settled()
    played += asyncio.run(_play(rig, planned[warm_up:], _CLIENTS))
    after = rig.settled(before.files)
    again = _sample(played, max(20, round(jobs * _SAMPLE)), seed)
    alone = asyncio.run(_play(rig, [one.job for one in again], clients=1))
    _report(rig, played, before, after)
    wrong = [f"job {one.job.number} ({one.job.fate}): {one.wrong}" for one in played if one.wrong]
    wrong += rig.wrong_ends([*played, *alone])
    wrong += _left(before, after)
    wrong += [
        f"job {one.job.number} alone: {other.text!r}, not {one.text!r}"
        for one, other in zip(again, alone, strict=True)
        if one.text != other.text
    ]
    return wrong


async def _play(rig: Rig, jobs: Iterable[PlannedJob], clients: int) -> list[Played]:
    """Plays jobs, so many at a time."""
    rest, played, began = iter(jobs), list[Played](), time.monotonic()

    async def play_on(client: Player) -> None:
        for job in rest:
            played.append(await client.play(job))
            if len(played) % _PROGRESS == 0:
                say(f"{len(played)} jobs in {time.monotonic() - began:.0f} s")

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url=rig.base_url, trust_env=False, timeout=120, limits=limits
    ) as http:
        client = rig.client(http)
        await asyncio.gather(*(play_on(client) for _ in range(clients)))
    return played


def _sample(played: list[Played], size: int, seed: int) -> list[Played]:
    repeatable = [one for one in played if one.job.repeatable and not one.wrong]
    return random.Random(seed).sample(repeatable, min(size, len(repeatable)))


def _left(before: Holdings, after: Holdings) -> list[str]:
    wrong = []
    if after.requests != (0, 0):
        wrong.append(f"the engine holds {after.requests} requests")
    if len(after.tasks) > len(before.tasks):
        leaked = Counter(after.tasks) - Counter(before.tasks)
        wrong.append(f"{len(after.tasks) - len(before.tasks)} tasks have leaked: {dict(leaked)}")
    if after.files > before.files:
        wrong.append(f"{after.files - before.files} files have leaked")
    if after.memory - before.memory > _MOST_GROWTH:
        wrong.append(f"memory grew by {(after.memory - before.memory) / 1e6:.0f} MB")
    return wrong


def _report(rig: Rig, played: list[Played], before: Holdings, after: Holdings) -> None:
    fates = Counter(one.job.fate for one in played)
    say(f"planned: {dict(sorted(fates.items()))}")
    say(f"ended: {rig.ends()}")
    say(f"after the warm-up: {before}")
    say(f"at the end: {after}")


def say(text: str) -> None:
    print(f"soak: {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Thousands of jobs, of which nothing may be left.")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--http", action="store_true", help="as HTTP requests")
    arguments = parser.parse_args()
    running = running_http_rig if arguments.http else running_rig
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), _MAX_CONCURRENCY) as rig:
        wrong = soak(rig, arguments.jobs, min(1000, arguments.jobs // 5), arguments.seed)
    for line in wrong[:50]:
        say(f"WRONG: {line}")
    say(f"{len(wrong)} things went wrong" if wrong else "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
