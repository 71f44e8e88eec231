"""A worker, or vLLM's own server, as a process whose log is kept in a file."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from vllm_worker.configuration.catalogue import vllm_folder

START_S = 600
_END_S = 60
_PAUSE_S = 0.2
# `vllm bench throughput`, without the command line's question for the version of a package named
# vllm, which the CPU build does not have. Options of vLLM's server are none of the benchmark's.
_BENCH = """
from vllm.benchmarks.throughput import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_known_args()[0])
"""


class CheckFailed(Exception):
    """What was expected did not happen; the text says what did."""


class Served:
    """A running process and its log."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log_file = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def end_of_log(self) -> str:
        """Its last lines, as the end of a sentence."""
        return "which ends with\n" + "\n".join(self.log.splitlines()[-8:])

    def wait_for(self, pattern: str, timeout_s: float = START_S) -> re.Match[str]:
        """The first match in the log. Raises CheckFailed with the last lines without one."""
        deadline = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self.log)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise CheckFailed(f"{pattern!r} is not in its log, {self.end_of_log()}")
            time.sleep(_PAUSE_S)
        return match

    def family(self) -> list[psutil.Process]:
        """The processes that it has started, and those that they have."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(number)
        return self.exit_code()

    def exit_code(self, timeout_s: float = _END_S) -> int:
        """Of its end. Raises CheckFailed when it goes on."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"it has not ended after {timeout_s:.0f} s") from None

    def kill(self) -> None:
        """End it and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def worker(environment: Mapping[str, str], log: Path) -> Iterator[tuple[Served, httpx.Client]]:
    """A worker with a local endpoint, ready for jobs, and a client of that endpoint."""
    served = Served(["handler.py"], environment, log)
    try:
        url = served.wait_for(r"serving on (\S+)")[1]
        served.wait_for("ready for jobs")
        with client(url) as asking:
            yield served, asking
    finally:
        served.kill()


@contextmanager
def vllm_server(
    words: Sequence[str], environment: Mapping[str, str], port: int, log: Path
) -> Iterator[httpx.Client]:
    """`vllm serve` with the words of a command line, ready, and a client of it."""
    newer = (vllm_folder() / "entrypoints/launchers/api_server/entry.py").exists()
    module = "launchers.api_server.entry" if newer else "openai.api_server"
    command = ["-m", f"vllm.entrypoints.{module}", *words, "--host", "127.0.0.1"]
    served = Served([*command, "--port", str(port)], environment, log)
    try:
        with client(f"http://127.0.0.1:{port}") as asking:
            _wait_for_health(served, asking)
            yield asking
    finally:
        served.kill()


def bare_engine(
    words: Sequence[str], environment: Mapping[str, str], requests: int, tokens: int, log: Path
) -> float:
    """Tokens per second of vLLM's own benchmark: the engine in its process, so many requests at
    once, after as many to warm up. Raises CheckFailed.
    """
    figures = log.with_suffix(".json")
    load = {
        "dataset-name": "random", "random-input-len": 32, "random-output-len": tokens,
        "num-prompts": requests, "num-warmups": requests, "output-json": figures,
    }  # fmt: skip
    options = [word for name, value in load.items() for word in (f"--{name}", str(value))]
    served = Served(["-c", _BENCH, *words, *options], environment, log)
    try:
        if served.exit_code(START_S):
            raise CheckFailed(f"vLLM's benchmark failed: see its log, {served.end_of_log()}")
    finally:
        served.kill()
    return float(json.loads(figures.read_text())["requests_per_second"]) * tokens


def client(url: str) -> httpx.Client:
    """With room for as many connections as the checks have streams."""
    limits = httpx.Limits(max_connections=None)
    return httpx.Client(base_url=url, timeout=START_S, limits=limits, trust_env=False)


def _wait_for_health(served: Served, asking: httpx.Client) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and served.process.poll() is None:
        with suppress(httpx.HTTPError):
            if asking.get("/health").status_code == 200:
                return
        time.sleep(_PAUSE_S)
    raise CheckFailed(f"vllm serve did not start: see its log, {served.end_of_log()}")
