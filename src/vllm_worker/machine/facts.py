"""What this machine has for a worker: GPUs, memory, the volume, variables."""

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import psutil

from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.catalogue import catalogue
from vllm_worker.configuration.settings import Settings
from vllm_worker.configuration.show import masked
from vllm_worker.configuration.sources import ENVIRONMENT
from vllm_worker.configuration.volume import inspect
from vllm_worker.errors import ConfigurationError
from vllm_worker.gpu_check.machine import gpus, versions


class MachineFinding(NamedTuple):
    """`problem` is "" where all is well, and `text` what there is."""

    check: str
    problem: str
    text: str


def machine_findings(environ: Mapping[str, str]) -> Iterator[MachineFinding]:
    """What a worker with these variables would find here. Secrets are not among it."""
    yield MachineFinding("versions", "", ", ".join(f"{n} {v}" for n, v in versions().items()))
    found = gpus()
    for gpu in found:
        text = f"{gpu.name}, driver {gpu.driver}, {gpu.free_mib} of {gpu.total_mib} MiB free"
        yield MachineFinding("GPU", "", text)
    if not found:
        yield MachineFinding("GPU", "", "none that the driver shows")
    memory = psutil.virtual_memory()
    text = (
        f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free, {os.cpu_count()} cores"
    )
    yield MachineFinding("memory", "", text)
    yield _variables(environ)
    yield _volume(environ.get("BASE_PATH") or Settings.model_fields["base_path"].default)


def _variables(environ: Mapping[str, str]) -> MachineFinding:
    try:
        configuration = load_configuration(environ)
    except ConfigurationError as error:
        return MachineFinding("variables", "; ".join(error.problems), "")
    known = catalogue()
    given = [
        f"{name}={'***' if name not in known or known[name].secret else masked(value.text)}"
        for name, value in configuration.values.items()
        if value.origin == ENVIRONMENT
    ]
    notes = [str(note) for note in configuration.notes]
    return MachineFinding("variables", "", "; ".join([*sorted(given), *notes]) or "none set")


def _volume(base_path: str) -> MachineFinding:
    volume = inspect(base_path)
    problem = f"{volume.folder}: {volume.problem}" if volume.there and volume.problem else ""
    text = f"{volume.folder} can be written" if volume.there else f"{volume.folder} is not there"
    return MachineFinding("volume", problem, text)
