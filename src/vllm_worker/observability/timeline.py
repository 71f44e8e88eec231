"""The log of a start: what is being done, how long each step took, and at its end all parts."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def step(done: str, patience_s: float = 30.0) -> Iterator[None]:
    """Logs `done` with the seconds that the block took; each `patience_s`, that it still runs."""
    started = time.monotonic()
    over = threading.Event()

    def remind() -> None:
        while not over.wait(patience_s):
            logger.info("%s: not yet, after %.0f s", done, time.monotonic() - started)

    threading.Thread(target=remind, daemon=True).start()
    try:
        yield
    finally:
        over.set()
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
        self.is_over = False
        self._told: Callable[[], object] = lambda: None

    def end(self, part: str) -> None:
        now = self._clock()
        self._parts[part] = self._parts.get(part, 0.0) + now - self._last
        self._last = now
        self._told()

    def tell(self, call: Callable[[], object]) -> None:
        """Have this called after each part, instead of what was called before."""
        self._told = call

    @property
    def parts(self) -> dict[str, float]:
        """The parts that have ended, in seconds."""
        return dict(self._parts)

    @property
    def current_s(self) -> float:
        """How long the part that has not ended has taken so far, 0 once the start is over."""
        return 0.0 if self.is_over else self._clock() - self._last

    def note(self, part: str, inside: str, seconds: float) -> None:
        """Note how long something inside a part took."""
        self._inside[part] = f" ({inside} {seconds:.1f})"

    def log(self) -> None:
        parts = (
            f"{part} {seconds:.1f}{self._inside.get(part, '')}"
            for part, seconds in self._parts.items()
        )
        total = self._last - self._started
        self.is_over = True
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
