"""Waiting for what happens in another process or task."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], timeout: float = 20) -> None:
    """Returns when the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
