"""`vllm-worker config`, `seams` and `gpu-check`: what a worker would be on this machine."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vllm_worker.configuration import Configuration, load_configuration
from vllm_worker.configuration.catalogue import vllm_version
from vllm_worker.configuration.derived import count_gpus
from vllm_worker.configuration.show import effective, listing, table
from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.gpu_memory.report import RUNPOD_SIZES, report
from vllm_worker.observability.stderr_log import silence_libraries


def main(words: Sequence[str]) -> int:
    """Run one of the three commands. Returns the exit code."""
    arguments = _arguments(words)
    if arguments.command == "gpu-check":
        return _check_gpus(arguments.report, arguments.without_gpu)
    if arguments.command == "seams":
        silence_libraries(os.environ)
        return _check_seams() if arguments.check else _show_seams()
    if arguments.list is not None:
        print(listing(arguments.list))
        return 0
    try:
        if arguments.memory is not None:
            return _weigh(arguments.memory, arguments.json)
        configuration = load_configuration(os.environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    _say_notes(configuration)
    if arguments.check:
        but = ", but see the notes above" if configuration.notes else ""
        print(f"no problems found{but} (checked without vLLM)")
    else:
        print(effective(configuration, as_json=arguments.json))
    return 0


def _weigh(size: float, as_json: bool) -> int:
    """Show what the model takes on GPUs of `size` GB; 0 stands for RunPod's usual sizes."""
    # As on a machine with a GPU, whose defaults are others than those without.
    gpu = {} if count_gpus(os.environ) else {"CUDA_VISIBLE_DEVICES": "0"}
    configuration = load_configuration(os.environ | gpu)
    configuration.export(os.environ)  # huggingface_hub reads it when it is imported
    _say_notes(configuration)
    print(report(configuration, [size] if size else RUNPOD_SIZES, as_json))
    return 0


def _check_gpus(report: Path, without_gpu: bool) -> int:
    from vllm_worker.gpu_check.run import gpu_check

    # So that what was started is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return gpu_check(os.environ, report, partial(print, flush=True), without_gpu)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2


def _show_seams() -> int:
    """Show how the installed vLLM compares. Returns 1 if something required is different."""
    from vllm_worker.engine.patches.seams import describe, examine  # imports vLLM

    print(table([("seam", "used for", "where", "what is different"), *describe()]))
    return int(any(finding.problem and finding.seam.required for finding in examine()))


def _check_seams() -> int:
    """Import all that serves, as an image's build does to find a base that does not suit it."""
    from vllm_worker.engine.patches import seams  # imports vLLM

    try:
        seams.check()
    except StartFailure as error:
        print(error, file=sys.stderr)
        return 1
    importlib.import_module("vllm_worker.engine.vllm_engine")
    print(f"the worker can run on vLLM {vllm_version()}")
    return 0


def _say_notes(configuration: Configuration) -> None:
    for note in configuration.notes:
        print(note, file=sys.stderr)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("vllm-worker")
    commands = parser.add_subparsers(required=True, dest="command")
    seams = commands.add_parser(
        "seams", help="compare the installed vLLM with what the worker knows of it"
    )
    seams.add_argument("--check", action="store_true", help="only say whether the worker can run")
    check = commands.add_parser(
        "gpu-check", help="try the worker on this machine's GPUs, from its start to its end"
    )
    check.add_argument(
        "--report", type=Path, default=Path("gpu-check"), metavar="FILE",
        help="where the results go, with .md and .json behind it, and the logs",
    )  # fmt: skip
    check.add_argument(
        "--without-gpu", action="store_true", help="go on where there is none, to try the checks"
    )
    config = commands.add_parser("config", help="show the configuration that a worker would have")
    config.add_argument("--json", action="store_true", help="for programs")
    config.add_argument("--check", action="store_true", help="only say what is wrong; code 2 if so")
    config.add_argument(
        "--list", nargs="?", const="", metavar="WORD", help="all variables, or those with a word"
    )
    config.add_argument(
        "--memory", nargs="?", const=0, type=_gb, metavar="GB",
        help="how the model fits in a GPU of so many GB (10^9 bytes), or in RunPod's usual ones",
    )  # fmt: skip
    return parser.parse_args(words)


def _gb(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0
    if not 0 < size < 10_000:
        raise argparse.ArgumentTypeError("must be a number of GB, such as 24")
    return size
