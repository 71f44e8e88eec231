"""Start and end of the core's process, and what this process does meanwhile.

Replaced are `run_engine_core`, which ends with a traceback that may quote a client, and the context
that has the core spawned on a CPU.
"""

import argparse
import ctypes
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil
import torch
from vllm import envs
from vllm.platforms import current_platform
from vllm.v1.engine import core, utils

from vllm_worker.engine.patches.seams import usable

logger = logging.getLogger(__name__)

_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"
_NOT_INITIALIZED = 3
"""The driver's answer to a process that has not called cuInit."""
_END_S = 0.5

_run_core = getattr(core.EngineCoreProc, "run_engine_core", None)


def start_by_worker() -> None:
    """Have the core's process run `run_core`."""
    core.EngineCoreProc.run_engine_core = staticmethod(run_core)


def run_core(*arguments: Any, **named: Any) -> None:
    """The core's process, also where it is spawned and has nothing of this one's patches.

    vLLM has logged what it raises; multiprocessing would write all of it.
    """
    assert _run_core
    if usable("StructuredOutputManager.grammar_init"):
        from vllm_worker.engine.patches import backends  # elsewhere it may not import

        backends.install()
    try:
        _run_core(*arguments, **named)
    except Exception:
        sys.exit(1)


def spawn_where_needed(arguments: argparse.Namespace) -> bool:
    """Have vLLM start its processes anew where a copy of this one would not do; say whether.

    It finds some reasons by itself, but looks for NUMA_BIND among the words of a command line, and
    takes for granted that `vllm serve` starts it. To be called before vLLM makes its configuration.
    """
    reasons = {
        "NUMA_BIND": getattr(arguments, "numa_bind", False),  # a command of its own for each
        "MM_TENSOR_IPC": getattr(arguments, "mm_tensor_ipc", "") == "torch_shm",
        # The library path that vLLM sets counts for a program that is started after it.
        "VLLM_ENABLE_CUDA_COMPATIBILITY": envs.VLLM_ENABLE_CUDA_COMPATIBILITY,
    }
    given = [name for name, reason in reasons.items() if reason]
    if given and os.environ.get(_METHOD) != "spawn":
        os.environ[_METHOD] = "spawn"
        logger.info("%s: the engine's processes are spawned, not forked", ", ".join(given))
    return bool(given)


def spawn_if_cuda_was_called() -> None:
    """Have vLLM start its processes anew where a library has called CUDA in this one, after which
    it fails in every copy of the process.

    FlashInfer does when vLLM imports it, which for some models is in the configuration. Where
    PyTorch has been told of a GPU, vLLM sees to it by itself. To be called when it has made its
    configuration.
    """
    if not current_platform.is_cuda() or os.environ.get(_METHOD) == "spawn":
        return
    if _cuda_was_called():
        os.environ[_METHOD] = "spawn"
        logger.info("a library has called CUDA: the engine's processes are spawned, not forked")


def _cuda_was_called() -> bool:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        asked = driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))
    except (OSError, AttributeError):
        return False  # no driver, of which the start will tell
    return bool(asked != _NOT_INITIALIZED) or _copies_are_spoilt()


def _copies_are_spoilt() -> bool:
    """Whether PyTorch refuses CUDA in a copy of this process, which it does once it has counted the
    GPUs by CUDA.
    """
    copy = os.fork()
    if not copy:
        os._exit(bool(torch._C._cuda_isInBadFork()))
    _, status = os.waitpid(copy, 0)
    return status != 0


def fork() -> None:
    """Have the core start as a copy of this process, which has imported all that it needs.

    Where there is a GPU, vLLM does so by itself. Without one it spawns every process, since OpenMP
    has to find its settings in a worker's environment; the core does not compute. To be called
    before vLLM makes its configuration, which sets the variable by which it can be told otherwise.
    """
    if current_platform.is_cpu() and not os.environ.get(_METHOD):
        utils.get_mp_context = partial(multiprocessing.get_context, "fork")


@contextmanager
def run_when_forked(call: Callable[[], object]) -> Iterator[None]:
    """Run `call` in a thread as soon as the block has forked a process, and wait for its end.

    Not before: a process that is forked while another thread holds a lock may wait for that lock
    forever. So the block must fork no second one. Where it forks none, `call` is not called.
    """
    thread = threading.Thread(target=_call, args=[call], daemon=True, name="while engine starts")
    armed = True

    def start() -> None:
        nonlocal armed
        if armed:
            armed = False
            thread.start()

    os.register_at_fork(after_in_parent=start)  # for good: there is no way to take it back
    try:
        yield
    finally:
        armed = False
    if thread.ident:
        thread.join()


@contextmanager
def engine_killed_soon() -> Iterator[None]:
    """Kill the engine's processes a moment after the block has begun to end them.

    Those of the model take down their groups, for seconds of which nothing is kept. What they have
    of shared memory is removed by multiprocessing's helper, which is this process's own.
    """
    killing = threading.Timer(_END_S, _kill_engine)
    killing.start()
    try:
        yield
    finally:
        killing.cancel()


def _kill_engine() -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name().startswith("VLLM::"):
                child.kill()


def _call(call: Callable[[], object]) -> None:
    with suppress(Exception):  # who needs it calls it again, and says what is wrong
        call()
