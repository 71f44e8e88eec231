"""vLLM's log: quiet unless a level is set, errors in one line; of a start, the first error and the
time of its weights are remembered.

vLLM's own configuration of logging with four additions, in the file that vLLM's variable for one
names, since its processes configure themselves.
"""

import argparse
import json
import logging
import logging.config
import multiprocessing
import os
import tempfile
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import vllm.envs
from vllm.logger import DEFAULT_LOGGING_CONFIG

from vllm_worker.observability.job_log import error_location

_WEIGHTS_LOADED = "Loading weights took %.2f seconds"
"""vLLM's message, in each process that loads weights."""
_FILE = "VLLM_LOGGING_CONFIG_PATH"

_MILESTONES = (
    "Starting to load model", "Loading model from scratch", "Loading weights took",
    "Model loading took", "torch.compile took", "Graph capturing finished", "KV cache size: ",
)  # fmt: skip
"""Of vLLM's information, what says how far a start is."""
_ASKED_FOR = {
    "vllm.entrypoints.serve.utils.request_logger", "vllm.entrypoints.logger",
    "vllm.v1.engine.async_llm", "vllm.v1.metrics.loggers", "vllm.forward_context",
    "vllm.v1.worker.startup_plan",
}  # fmt: skip
"""Loggers that are silent unless something was set: ENABLE_LOG_REQUESTS=1, DISABLE_LOG_STATS=0,
VLLM_LOG_BATCHSIZE_INTERVAL, VLLM_ENABLE_STARTUP_PLAN."""
_NO_ACTION_NEEDED = {
    "Enforce eager set": "ENFORCE_EAGER=1 asks for it",
    "Inductor compilation was disabled": "the same",
    "Default vLLM sampling parameters have been overridden": "the model's own are meant",
    "Triton is not installed": "the CPU build has none",
    "Model Runner V2 requires Triton": "the same",
    "Reset SSM cache type": "a default of models that most are not, and it fits",
    "Failed to create oneDNN linear": "a CPU without AVX-512; PyTorch's own does the same",
    "%s is not found in LD_PRELOAD": "faster memory for CPUs, which are there to try models on",
}
"""The beginning of a warning of vLLM → why nobody has to do anything about it."""


class EngineLog:
    """Steps aside where the configuration has a logging configuration of its own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """To be made before vLLM's processes start."""
        self._folder = tempfile.TemporaryDirectory(prefix="vllm-worker-")
        self._errors = Path(self._folder.name, "errors")
        self._weights = Path(self._folder.name, "weights")
        given = vars(arguments)  # vLLM's parser leaves these out when they are not set
        if given.get("logging_config") or given.get("log_config_file"):
            return
        if os.environ.get(_FILE) or os.environ.get("VLLM_CONFIGURE_LOGGING"):
            return
        file = Path(self._folder.name, "logging.json")
        chosen = given.get("log_level") or os.environ.get("VLLM_LOGGING_LEVEL")
        level = given.get("log_level") or vllm.envs.VLLM_LOGGING_LEVEL
        configuration = self._configuration(level, quiet=not chosen)
        file.write_text(json.dumps(configuration))
        os.environ[_FILE] = str(file)  # for the engine's processes
        logging.config.dictConfig(configuration)

    def first_error(self) -> str | None:
        """The first error in any of vLLM's processes, as `ValueError: …`, if known."""
        try:
            return str(json.loads(self._errors.read_text().partition("\n")[0]))
        except (OSError, json.JSONDecodeError):
            return None

    def weights_s(self) -> float | None:
        """Seconds that the slowest of vLLM's processes took to load its weights, if known."""
        try:
            return max(map(float, self._weights.read_text().split()))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        self._folder.cleanup()

    def _configuration(self, level: str, quiet: bool) -> dict[str, Any]:
        configuration: dict[str, Any] = deepcopy(DEFAULT_LOGGING_CONFIG)
        handlers, logger = configuration["handlers"], configuration["loggers"]["vllm"]
        logger["level"] = handlers["vllm"]["level"] = level
        names = {"quiet": Quiet, "one line": OneLine}
        configuration["filters"] = {
            name: {"()": f"{__name__}.{kind.__name__}"} for name, kind in names.items()
        }
        used = {"quiet": quiet, "one line": level != "DEBUG"}
        handlers["vllm"]["filters"] = [name for name in names if used[name]]
        handlers["errors"] = {"()": f"{__name__}.Errors", "file": str(self._errors)}
        handlers["weights"] = {"()": f"{__name__}.Weights", "file": str(self._weights)}
        # The first two see the record as it is.
        logger["handlers"] = ["errors", "weights", "vllm"]
        return configuration


class Quiet(logging.Filter):
    """Of information only what tells how far a start is or was asked for, and no warning that asks
    for nothing. LOG_LEVEL or VLLM_LOGGING_LEVEL, whatever it says, turns this off."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = str(record.msg)
        if record.levelno <= logging.INFO:
            return record.name in _ASKED_FOR or any(sign in message for sign in _MILESTONES)
        return not (record.levelno == logging.WARNING and message.startswith(_SILENCED))


_SILENCED = tuple(_NO_ACTION_NEEDED)
_ABOUT_A_REQUEST = ("Failed to compile grammar", "Unexpected error pre-processing request")
"""Errors in an engine's process that may quote what a client has sent."""
_WITH_TOKENS = ("grammar rejected tokens", "Failed to advance FSM")
_WITH_NAME = "Error with model"


class OneLine(logging.Filter):
    """An exception without its traceback, and without its text where that may quote a client."""

    def filter(self, record: logging.LogRecord) -> bool:
        if any(words in str(record.msg) for words in _WITH_TOKENS):
            record.msg, record.args = "an output could not follow what it has to", ()
        if str(record.msg).startswith(_WITH_NAME):
            record.msg, record.args = "a request names a model that is not served", ()
        if record.exc_info and (error := record.exc_info[1]):
            quotes = str(record.msg).startswith(_ABOUT_A_REQUEST)
            here = multiprocessing.parent_process() is None
            text = "" if here or quotes else f": {error}"
            record.msg = f"{record.getMessage()} {error_location(error)}{text}"
            record.args = record.exc_info = record.exc_text = None
        return True


class Errors(logging.Handler):
    """Appends each exception to a file, a JSON text a line; engine processes only."""

    def __init__(self, file: str) -> None:
        super().__init__(logging.ERROR)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and (error := record.exc_info[1]) and multiprocessing.parent_process():
            # The folder is gone when the worker is.
            with suppress(OSError), Path(self._file).open("a") as file:
                file.write(json.dumps(f"{type(error).__name__}: {error}") + "\n")


class Weights(logging.Handler):
    """Appends the seconds that a process took to load its weights to a file, on a line."""

    def __init__(self, file: str) -> None:
        super().__init__(logging.INFO)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == _WEIGHTS_LOADED and isinstance(record.args, tuple):
            with suppress(OSError), Path(self._file).open("a") as file:
                file.write(f"{record.args[0]}\n")
