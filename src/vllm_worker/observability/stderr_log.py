"""The worker's own log lines on standard error."""

import logging
import sys


def log_to_stderr() -> None:
    """The worker's own log lines; vLLM and the SDK have their own ways."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s worker | %(message)s"))
    package = logging.getLogger("vllm_worker")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False
