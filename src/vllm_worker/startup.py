"""The log of a start: what is being done, and how long each step took."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
def step(done: str) -> Iterator[None]:
    """Logs `done` with the seconds that the block took."""
    started = time.monotonic()
    yield
    logger.info("%s in %.1f s", done, time.monotonic() - started)


def log_ready(what: str) -> None:
    logger.info("%s, %.1f s after the start", what, time.monotonic() - _PROCESS_STARTED)
