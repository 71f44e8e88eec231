"""The RunPod SDK, run with a worker.

The SDK owns the event loop, the signals and the queue. results.py posts the outputs for it.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import uvloop

from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.serverless.lifecycle import Lifecycle
from vllm_worker.serverless.queue import Queue
from vllm_worker.serverless.readiness import ConcurrencyModifier
from vllm_worker.worker import Worker

logger = logging.getLogger(__name__)

_OTHER_MODES = {"--test_input", "--rp_serve_api"}
"""Modes of the SDK in which the engine would never start."""


_LEVELS = ("NOTSET", "TRACE", "DEBUG", "INFO", "WARN", "ERROR")
"""The SDK's levels; it raises ValueError for others."""
_OTHER_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR"}


def _log_level(environ: Mapping[str, str]) -> str:
    """The SDK's level, by either of its variables, in any case or by its number.

    At its own default, DEBUG, the SDK prints the text of every chunk. At INFO it has three lines a
    job, and the worker's own line tells more.
    """
    for name in ("RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL"):
        if not (text := environ.get(name, "").strip().upper()):
            continue
        if text.isdecimal() and int(text) < len(_LEVELS):
            return _LEVELS[int(text)]
        if (level := _OTHER_LEVELS.get(text, text)) in _LEVELS:
            return level
        logger.warning("%s=%s has no effect: the levels are %s", name, text, ", ".join(_LEVELS))
    return "WARN"


def set_log_level() -> None:
    """Give the SDK, not imported yet, a level that it knows."""
    os.environ["RUNPOD_LOG_LEVEL"] = _log_level(os.environ)


def import_sdk() -> tuple[Any, Any]:
    """The SDK and what is built on it, which takes a second.

    Not before `queue`: the SDK reads its environment on import, and the local endpoint sets it.
    """
    set_log_level()
    import runpod

    try:
        from vllm_worker.serverless import job_loop
    except ImportError as error:
        logger.warning("the SDK is different (%s): jobs start when it polls", error)
        return runpod, None
    return runpod, job_loop


def check_mode(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError for a mode of the SDK in which the engine would never start."""
    flags = {word.split("=")[0] for word in arguments if word.startswith("--")}
    # The SDK's parser takes the beginning of a flag as well.
    modes = {mode for mode in _OTHER_MODES for flag in flags if mode.startswith(flag) and flag[2:]}
    if environ.get("RUNPOD_REALTIME_PORT", "").strip() not in ("", "0"):
        modes |= {"RUNPOD_REALTIME_PORT"}
    local = "Without RunPod's environment, handler.py serves a local endpoint by itself"
    if modes:
        raise ConfigurationError([f"{mode} is not supported. {local}." for mode in sorted(modes)])


def run(worker: Worker, queue: Queue) -> None:
    """Serve jobs until SIGTERM or SIGINT; return when the jobs in flight are done.

    Raises StartFailure when the worker could not start, SystemExit with code 1 when its engine
    died and with 0 when jobs did not finish in time.
    """
    runpod, job_loop = import_sdk()
    lifecycle = Lifecycle(worker, queue)
    if job_loop:
        job_loop.install(lifecycle)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        with queue.reporting():
            runpod.serverless.start(
                {
                    "handler": worker.handle,
                    "concurrency_modifier": ConcurrencyModifier(lifecycle, queue.url),
                    "return_aggregate_stream": True,
                }
            )
    except SystemExit as end:
        if isinstance(end.__cause__, StartFailure):
            raise end.__cause__ from None
        raise
    # The SDK may have been done before the worker's life was.
    if worker.exit_code:
        raise SystemExit(worker.exit_code)
