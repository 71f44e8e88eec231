"""How the process of the engine's core begins and ends."""

import multiprocessing
import os
import sys
from functools import partial
from typing import Any

from vllm.platforms import current_platform
from vllm.v1.engine import utils
from vllm.v1.engine.core import EngineCoreProc

_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"

_run_core = EngineCoreProc.run_engine_core


def end_without_traceback() -> None:
    """Have the core end without a traceback on its standard error, which may quote a client."""
    EngineCoreProc.run_engine_core = staticmethod(run_core)


def run_core(*arguments: Any, **named: Any) -> None:
    """The core's process. vLLM has logged what it raises; multiprocessing would write all of it."""
    try:
        _run_core(*arguments, **named)
    except Exception:
        sys.exit(1)


def fork() -> None:
    """Have the core start as a copy of this process, which has imported all that it needs.

    Where there is a GPU, vLLM does so by itself. Without one it spawns every process, since OpenMP
    has to find its settings in a worker's environment; the core does not compute. To be called
    before vLLM makes its configuration, which sets the variable by which it can be told otherwise.
    """
    if current_platform.is_cpu() and not os.environ.get(_METHOD):
        utils.get_mp_context = partial(multiprocessing.get_context, "fork")
