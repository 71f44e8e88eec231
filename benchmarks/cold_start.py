"""`python -m benchmarks.cold_start [--starts N]`: how long a worker takes to ask for its first job.

This worker and the usual design, cold_start_proxy.py, are started in turns. Prints tables, writes
benchmarks/results/cold-start.json, and `make generate` puts them into docs/cold-start.md.
"""

import argparse
import asyncio
import re
import socket
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvloop

from benchmarks.__main__ import machine, say
from benchmarks.cold_start_report import KINDS, ColdStarts, FirstJob, save, summary
from benchmarks.platform import Platform, running_platform
from benchmarks.systems import MODEL, python_process, settings
from vllm_worker.configuration import load_configuration

_STARTS = 5
_START_S = 300
_FOLLOWING = 10
_SAMPLING = {"max_tokens": 16, "temperature": 0}
_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Start:
    """From the start of the process to the first job-take, in seconds; its first jobs by kind."""

    seconds: float
    first_jobs: dict[str, FirstJob]
    log: str

    @property
    def parts(self) -> dict[str, float]:
        """As this worker's own log has them, in seconds."""
        match = re.search(r"ready for jobs, .* after the start: (.*)", self.log)
        assert match, self.log[-3000:]
        parts = re.findall(r"(\(?)([A-Za-z][\w -]*) (\d+\.\d)", match[1])
        return {
            f"{'of which ' if inside else ''}{name}": float(seconds)
            for inside, name, seconds in parts
        }


async def run(starts: int) -> ColdStarts:
    ours: list[Start] = []
    proxies: list[Start] = []
    compiled: list[list[float]] = []
    logs = Path(tempfile.mkdtemp(prefix="cold-start-"))
    await start_ours(logs)  # what was not in the page cache is from here on, for both
    for number in range(starts):
        ours.append(await start_ours(logs, jobs=True))
        say(f"start {number + 1} of {starts}: ours {ours[-1].seconds:.1f} s")
        proxies.append(await start_proxy(logs))
        say(f"start {number + 1} of {starts}: proxy {proxies[-1].seconds:.1f} s")
    for number in range(starts):
        with tempfile.TemporaryDirectory(prefix="cold-start-") as volume:
            compiled.append([await _start_compiled(logs, volume) for _ in range(2)])
        first, second = compiled[-1]
        say(f"compiled {number + 1} of {starts}: first {first:.1f} s, second {second:.1f} s")
    return ColdStarts(
        machine(),
        [each.seconds for each in ours],
        [each.seconds for each in proxies],
        [each.parts for each in ours],
        [each.first_jobs for each in ours],
        compiled,
    )


async def start_ours(
    logs: Path, environment: Mapping[str, str] = _NOTHING, jobs: bool = False
) -> Start:
    return await _start("ours", ["handler.py"], dict(environment), logs, jobs)


async def start_proxy(logs: Path) -> Start:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    configuration = load_configuration(settings("demo"))
    options = [word for _, option in configuration.options() for word in option]
    server = ["--host", "127.0.0.1", "--port", port, "--disable-uvicorn-access-log"]
    command = ["-m", "benchmarks.cold_start_proxy", *options, *server]
    environment = {
        "BENCHMARK_SERVER": f"http://127.0.0.1:{port}",
        "BENCHMARK_LAG": str(logs / "proxy.lag"),
    }
    return await _start("proxy", command, environment, logs, jobs=False)


async def _start_compiled(logs: Path, volume: str) -> float:
    """With the model compiled, and everything that compiling leaves behind on this volume."""
    caches = {"VLLM_CACHE_ROOT": f"{volume}/vllm", "TORCHINDUCTOR_CACHE_DIR": f"{volume}/inductor"}
    return (await start_ours(logs, caches | {"ENFORCE_EAGER": "0"})).seconds


async def _start(
    name: str, command: list[str], environment: dict[str, str], logs: Path, jobs: bool
) -> Start:
    """Starts a worker, gives it its first jobs if `jobs` says so, and ends it."""
    log = logs / f"{name}.log"
    log.unlink(missing_ok=True)
    async with running_platform() as platform:
        begun = time.perf_counter()
        variables = settings("demo") | platform.environment | environment
        async with python_process(name, command, variables, logs) as worker:
            asked = asyncio.create_task(platform.asked.wait())
            ended = asyncio.create_task(worker.wait())
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({asked, ended}, timeout=_START_S, return_when=first)
            seconds = time.perf_counter() - begun
            assert asked.done(), f"{name} did not start:\n{log.read_text(errors='replace')[-3000:]}"
            first_jobs = {kind: await _first_job(platform, kind) for kind in KINDS if jobs}
            platform.close()
        await ended
    return Start(seconds, first_jobs, log.read_text(errors="replace"))


async def _first_job(platform: Platform, kind: str) -> FirstJob:
    times = []
    for _ in range(1 + _FOLLOWING):
        answer, _job = await platform.ask(_job_input(kind))
        times.append(1000 * (answer.ended - answer.begun))
    return FirstJob(times[0], statistics.median(times[1:]))


def _job_input(kind: str) -> dict[str, Any]:
    if kind == "native":
        return {"prompt": "RunPod is", "sampling_params": _SAMPLING}
    kinds: dict[str, dict[str, Any]] = {
        "chat": {},
        "tools": {
            "tools": [{"type": "function", "function": {"name": "look_up", "parameters": _SCHEMA}}]
        },
        "JSON schema": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": _SCHEMA},
            }
        },
        "log-probabilities": {"logprobs": True, "top_logprobs": 3},
    }
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "What is RunPod?"}]}
    return {"openai_route": "/v1/chat/completions", "openai_input": chat | _SAMPLING | kinds[kind]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--starts", type=int, default=_STARTS, help="of each, one after the other")
    results = uvloop.run(run(parser.parse_args().starts))
    save(results)
    print(summary(results))


if __name__ == "__main__":
    main()
