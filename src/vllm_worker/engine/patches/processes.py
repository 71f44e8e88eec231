"""How the engine's processes start, and what this process does meanwhile."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from vllm.platforms import current_platform
from vllm.v1.engine import utils
from vllm.v1.engine.core import EngineCoreProc
from vllm.v1.engine.core_client import MPClient

_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


_run_core = EngineCoreProc.run_engine_core


def install() -> None:
    """Has the engine's core end without a traceback on its standard error."""
    EngineCoreProc.run_engine_core = staticmethod(run_core)


def run_core(*arguments: Any, **named: Any) -> None:
    """The core's process. vLLM has logged what it raises; multiprocessing would write all of it."""
    try:
        _run_core(*arguments, **named)
    except Exception:
        sys.exit(1)


def let_core_fork() -> None:
    """Has the engine's core start as a copy of this process, which has imported all it needs.

    Where there is a GPU, vLLM does so by itself. Without one it starts every process anew, since
    OpenMP has to find its settings in a worker's environment; the core does not compute. Call it
    before vLLM makes its configuration, which sets the variable by which it can be told otherwise.
    """
    if current_platform.is_cpu() and not os.environ.get(_METHOD):
        utils.get_mp_context = partial(multiprocessing.get_context, "fork")


@contextmanager
def meanwhile(call: Callable[[], object]) -> Iterator[None]:
    """Calls this while the engine's processes start, which the block has to wait for.

    In a thread that starts when the processes have: one that is forked while another thread holds
    a lock may wait for that lock forever.
    """
    thread = threading.Thread(target=_call, args=[call], daemon=True, name="meanwhile")
    begin = MPClient._start_mm_warmup

    def started(self: MPClient) -> None:
        begin(self)
        thread.start()

    MPClient._start_mm_warmup = started  # vLLM calls it at just that moment
    try:
        yield
    finally:
        MPClient._start_mm_warmup = begin
    if thread.ident:
        thread.join()


def _call(call: Callable[[], object]) -> None:
    with suppress(Exception):  # who needs it will call it again, and say what is wrong
        call()
