"""The log of a start: what is being done, how long each step took, and at its end all parts."""

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path

import psutil  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

_LEAVING_S = 15
"""More than the engine's processes take to end."""


def log_to_stderr() -> None:
    """The worker's own log lines; vLLM and the SDK have their own ways."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s worker | %(message)s"))
    package = logging.getLogger("vllm_worker")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False


def leave_at_signals() -> None:
    """Has SIGTERM and SIGINT end a start, through the context managers that are open; with code 0.

    The SDK takes the signals over when its loop runs.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(*_: object) -> None:
    # An exception that comes from nowhere can be lost, or leave a lock of logging's held.
    timer = threading.Timer(_LEAVING_S, _end_at_once)
    timer.daemon = True
    timer.start()
    sys.exit(0)


def _end_at_once() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(0)


@contextmanager
def ctrl_c_kept_from_children() -> Iterator[None]:
    """Processes that the block starts do not see SIGINT, which a terminal sends to all of them.

    They inherit that this thread blocks it, whatever handlers they set. An idle thread goes on
    receiving it for this process, in which Ctrl-C works as ever.
    """
    # This helper of multiprocessing removes shared memory that vLLM leaves, and complains about it.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    # Starting it unblocks SIGINT, so it comes before the block.
    resource_tracker.ensure_running()
    threading.Thread(target=threading.Event().wait, daemon=True, name="receives signals").start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """For imports: what they make is no garbage, and to search it all the time takes a quarter of
    theirs. It is not searched afterwards either."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def collect_garbage_rarely() -> None:
    """The same for a process that cannot say when it has imported all."""
    gc.set_threshold(100_000, 50, 100)


@contextmanager
def step(done: str) -> Iterator[None]:
    """Logs `done` with the seconds that the block took."""
    started = time.monotonic()
    yield
    logger.info("%s in %.1f s", done, time.monotonic() - started)


class Timeline:
    """The parts of a start: each begins where the one before ended, the first with `started`.

    `started` is a time of the clock. A part that ends twice is one part with the sum of both.
    """

    def __init__(self, started: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = self._last = started
        self._parts: dict[str, float] = {}
        self._inside: dict[str, str] = {}

    def end(self, part: str) -> None:
        now = self._clock()
        self._parts[part] = self._parts.get(part, 0.0) + now - self._last
        self._last = now

    def note(self, part: str, inside: str, seconds: float) -> None:
        """What is known of the inside of a part."""
        self._inside[part] = f" ({inside} {seconds:.1f})"

    def log(self) -> None:
        parts = (
            f"{part} {seconds:.1f}{self._inside.get(part, '')}"
            for part, seconds in self._parts.items()
        )
        total = self._last - self._started
        logger.info("ready for jobs, %.1f s after the start: %s", total, ", ".join(parts))


def process_started() -> float:
    """When this process began, by the clock of time.monotonic, to a hundredth of a second.

    That is before Python was there. A module that is imported would begin to count too late.
    """
    status = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    ticks = int(status[19])  # since the machine booted: field 22 in proc(5), 20th after the name
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


timeline = Timeline(process_started())
"""Of this process's start."""
