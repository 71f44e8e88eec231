"""SIGTERM and SIGINT while a worker starts, and SIGINT for the engine's processes."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker

import psutil

_LEAVING_S = 15
"""More than the engine's processes take to end."""


def leave_at_signals() -> None:
    """Make SIGTERM and SIGINT end a start with code 0, through the open context managers.

    The SDK takes the signals over when its loop runs.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)


def ignore_signals() -> None:
    """SIGTERM and SIGINT say nothing new once the process is about to end: it ends in time."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_in_time)


def leave(*_: object) -> None:
    """End the process with code 0, through the open context managers, and at last at once."""
    _end_in_time()
    sys.exit(0)


def _end_in_time(*_: object) -> None:
    # An exception that comes from nowhere can be lost, or leave a lock of logging's held.
    timer = threading.Timer(_LEAVING_S, _end_at_once)
    timer.daemon = True
    timer.start()


def _end_at_once() -> None:
    """Multiprocessing's helper ends by itself, when it has removed the others' shared memory."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(child.cmdline()):
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
