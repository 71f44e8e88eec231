"""The model's files, downloaded before the engine is built, in a process of its own.

vLLM would download them too, but then load the first time by the model's name and later from its
folder in the cache, and compile the model once for each.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vllm_worker.configuration import Configuration
from vllm_worker.configuration.model_files import wanted_files
from vllm_worker.configuration.settings import SMALL_MODEL
from vllm_worker.errors import StartFailure
from vllm_worker.observability.stderr_log import log_to_stderr
from vllm_worker.observability.timeline import step
from vllm_worker.startup.small_model import small_model

logger = logging.getLogger(__name__)

_LOAD_FORMATS = ("auto", "safetensors")
"""Those of which it is known which files are read."""
_EXPLAINED = 2
"""Exit code of a download that has written why there is none, instead of the folder."""


@contextmanager
def downloading(configuration: Configuration) -> Iterator[Callable[[], Configuration]]:
    """The download begins, if there is something to download; what is yielded waits for its end.

    It returns the configuration with the model's folder, or as it was where the download failed:
    vLLM then tries by the name, and its error says why. Raises StartFailure for the model that only
    the worker knows.
    """
    download = _start(configuration) if _is_needed(configuration) else None
    try:
        yield lambda: _with_folder(configuration, download) if download else configuration
    finally:
        if download and download.poll() is None:
            download.kill()
            download.wait()


def _is_needed(configuration: Configuration) -> bool:
    if configuration.model == SMALL_MODEL:
        return True
    given = {name: value.text for name, value in configuration.values.items()}
    by_default = given.get("LOAD_FORMAT", "auto") in _LOAD_FORMATS and "DOWNLOAD_DIR" not in given
    return by_default and not Path(configuration.model).is_dir()


def _start(configuration: Configuration) -> "subprocess.Popen[str]":
    revision = configuration.values.get("MODEL_REVISION")
    wanted = [configuration.model, revision.text if revision else None]
    command = [sys.executable, "-m", __name__, json.dumps(wanted)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def _with_folder(configuration: Configuration, download: "subprocess.Popen[str]") -> Configuration:
    with step(f"{configuration.model} downloaded"):
        folder, _ = download.communicate()
    if download.returncode == _EXPLAINED:
        raise StartFailure(f"{configuration.model} cannot be had: {folder}")
    if download.returncode or not folder:
        return configuration
    return replace(configuration, model=folder)


def _download(name: str, revision: str | None) -> str:
    """The folder with the files that vLLM reads."""
    from huggingface_hub import HfApi, constants, snapshot_download

    if name == SMALL_MODEL:
        return str(small_model(Path(constants.HF_HUB_CACHE)))
    files = [file.rfilename for file in HfApi().model_info(name, revision=revision).siblings or []]
    return snapshot_download(name, revision=revision, allow_patterns=wanted_files(files))


if __name__ == "__main__":
    log_to_stderr()
    name, revision = json.loads(sys.argv[1])
    try:
        sys.stdout.write(_download(name, revision))
    except Exception as error:
        if name != SMALL_MODEL:
            sys.exit(1)  # vLLM asks once more, and what it meets is explained
        sys.stdout.write(str(getattr(error, "strerror", None) or error).partition("\n")[0])
        sys.exit(_EXPLAINED)
