"""The worker's own log lines on standard error, and what libraries say there of themselves."""

import logging
import sys
import warnings
from collections.abc import Mapping

_TELL_NOTHING = (
    "torch._library.triton",  # "Triton not available", which is so without a GPU
    "torch._opaque_base",  # deprecated names, which vLLM imports
    "torch._library.opaque_object",  # likewise
)
"""Loggers of PyTorch whose warnings ask for nothing."""


def log_to_stderr() -> None:
    """The worker's own log lines; vLLM and the SDK have their own ways."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s worker | %(message)s"))
    package = logging.getLogger("vllm_worker")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False


def silence_libraries(environ: Mapping[str, str]) -> None:
    """Warnings of PyTorch at its import that ask for nothing; with LOG_LEVEL=DEBUG they stay.

    To be called in each process that imports it.
    """
    if environ.get("LOG_LEVEL", "").upper() == "DEBUG":
        return
    for name in _TELL_NOTHING:
        logging.getLogger(name).setLevel(logging.ERROR)
    deprecated = r".*torch\.distributed\.reduce_op. is deprecated"  # vLLM looks at each attribute
    warnings.filterwarnings("ignore", deprecated, FutureWarning)
