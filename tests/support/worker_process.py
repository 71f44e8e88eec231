"""A worker as a process of its own, as it runs on RunPod, and the look into it that tests need."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
START_S = 240
_STOP_S = 60
# As people run it, but for chunks by size alone, so that tests can count.
ENVIRONMENT = {
    "MODEL_NAME": "demo",
    "STREAM_MAX_DELAY_MS": "0",
    # The SDK's fitness checks run as on RunPod, on a machine of any size and without the Internet.
    "RUNPOD_MIN_MEMORY_GB": "1",
    "RUNPOD_MIN_DISK_PERCENT": "0",
    "PYTHONPATH": os.pathsep.join(
        [
            str(ROOT / "tests" / "support" / "reachable"),
            *filter(None, [os.environ.get("PYTHONPATH")]),
        ]
    ),
}
_COVERAGE = "COVERAGE_PROCESS_CONFIG"
MEASURED = {name: value for name, value in os.environ.items() if name == _COVERAGE}
"""Settings of a worker whose lines count for the coverage. That slows it down by half, so that only
the workers that many tests share have them.
"""


@contextlib.contextmanager
def running_scaler_worker(
    loop: str, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """tests.support.scaler_worker, which writes to `log`; killed at the end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.scaler_worker", loop],
            env=_surroundings() | {"MODEL_NAME": "demo"} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        yield process
    finally:
        # With the process that the SDK starts for its pings, which outlives a SIGKILL.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != _COVERAGE}


def requests_and_tasks(inspect_socket: Path) -> tuple[tuple[int, int], list[str]]:
    """What a worker of inspectable_handler.py holds: requests in the engine's frontend and in its
    core, and the names of the functions that the event loop's tasks run.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(inspect_socket))
        counts, *tasks = connection.makefile().read().splitlines()
    frontend, core = map(int, counts.split())
    return (frontend, core), sorted(tasks)


def requests_held(inspect_socket: Path) -> tuple[int, int]:
    """The requests of these."""
    return requests_and_tasks(inspect_socket)[0]


class WorkerProcess:
    """A running worker; `log` is what it has written so far."""

    def __init__(self, environment: dict[str, str], script: str = "handler.py") -> None:
        self.log = ""
        self.process = subprocess.Popen(
            [sys.executable, script],
            cwd=ROOT,
            env=_surroundings() | ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # so that a test can do what Ctrl-C does
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, timeout: float = START_S) -> re.Match[str]:
        """The first match in the log. Fails the test with the log when there is none in time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if match := re.search(pattern, self.log):
                return match
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} is not in the worker's log:\n{self.log[-5000:]}")

    def wait_until_ready(self) -> "WorkerProcess":
        self.wait_for("ready for jobs")
        return self

    def press_ctrl_c(self) -> None:
        """As a terminal does: every process of the worker gets SIGINT."""
        os.killpg(self.process.pid, signal.SIGINT)

    def child(self, name: str) -> psutil.Process:
        """The one process of the worker with this in its name; vLLM names its own."""
        (child,) = [child for child in self.family() if name in child.name()]
        return child

    def family(self) -> list[psutil.Process]:
        """The processes that the worker has started, and those that they have."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def shared_memory(self) -> set[Path]:
        """The shared memory that the worker's processes have in use."""
        maps: set[Path] = set()
        for process in (psutil.Process(self.process.pid), *self.family()):
            with contextlib.suppress(psutil.NoSuchProcess):  # a start has some that end at once
                maps |= {Path(each.path) for each in process.memory_maps()}
        return {path for path in maps if path.is_relative_to("/dev/shm")}

    def exit_code(self, timeout: float = 60) -> int:
        code = self.process.wait(timeout)
        self._close()
        return code

    def stop(self) -> None:
        """End the worker as RunPod does. Fails the test with the log when it does not end."""
        in_time = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                in_time = False
        # The process that the SDK starts for its pings outlives a worker that is killed, and keeps
        # the log open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close()
        assert in_time, f"the worker did not end {_STOP_S} s after SIGTERM:\n{self.log[-5000:]}"

    def _close(self) -> None:
        self._reader.join(timeout=5)
        assert self.process.stdout
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.log += line


@contextlib.contextmanager
def running_worker(
    environment: dict[str, str], script: str = "handler.py", until_ready: bool = True
) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(environment, script)
    try:
        yield worker.wait_until_ready() if until_ready else worker
    finally:
        worker.stop()
