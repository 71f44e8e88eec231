"""The log of a start: what is being done, and how long each step took."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

logger = logging.getLogger(__name__)

_PROCESS_STARTED = time.monotonic()


def log_to_stderr() -> None:
    """The worker's own log lines; vLLM and the SDK have their own ways."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s worker | %(message)s"))
    package = logging.getLogger("vllm_worker")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False


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
def step(done: str) -> Iterator[None]:
    """Logs `done` with the seconds that the block took."""
    started = time.monotonic()
    yield
    logger.info("%s in %.1f s", done, time.monotonic() - started)


def log_ready(what: str) -> None:
    logger.info("%s, %.1f s after the start", what, time.monotonic() - _PROCESS_STARTED)
