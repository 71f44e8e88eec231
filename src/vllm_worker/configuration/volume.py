"""BASE_PATH, which a network volume may be, and what can be done there."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vllm_worker.configuration.settings import Settings
from vllm_worker.configuration.values import is_folder

_DEFAULT = Settings.model_fields["base_path"].default
_PROBE_BYTES = 2**20
_LEAST_FREE_BYTES = 2**30
"""With less than this, no model fits any more."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Volume(NamedTuple):
    """`problem` says why nothing can be kept in the folder, "" if something can.

    A folder that is not there counts as `there` when it can be made.
    """

    folder: Path
    there: bool
    problem: str = ""

    @property
    def writable(self) -> bool:
        return self.there and not self.problem

    @property
    def mounted(self) -> bool:
        """Whether what is written there outlives a container."""
        return self.there and self.folder.exists() and _device(self.folder) != _device(Path("/"))

    @property
    def hub(self) -> Path:
        """Where Hugging Face's cache has its repositories."""
        return self.folder / "huggingface-cache/hub"

    @property
    def library_env(self) -> dict[str, str]:
        """Hugging Face's own folder stays the one, where nothing can be kept."""
        return {"HF_HOME": str(self.hub.parent)} if self.writable else {}


def inspect(base_path: str) -> Volume:
    """The volume as it is now. Only a try to write tells: root may write by its rights to what a
    quota or a network's server then refuses.

    The platform's volume is there or not; another folder is made by whoever writes to it first.
    """
    folder = Path(base_path)
    try:
        if stat.S_ISDIR(folder.stat().st_mode):
            return Volume(folder, True, _problem(folder))
    except FileNotFoundError:
        parent = next(path for path in folder.parents if path.exists())
        can_be_made = parent.is_dir() and os.access(parent, os.W_OK) and not folder.is_symlink()
        return Volume(folder, can_be_made and not _is_the_platforms(folder))
    except OSError as error:
        return Volume(folder, False, f"cannot be reached ({error.strerror})")
    return Volume(folder, False)


def _is_the_platforms(folder: Path) -> bool:
    """Whether it is where RunPod mounts a volume, or in there."""
    return Path(_DEFAULT) in (folder, *folder.parents)


def _device(folder: Path) -> int:
    return folder.stat().st_dev


def _problem(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return "is full" if error.errno in _FULL else f"cannot be written to ({error.strerror})"
    return f"has only {free // 2**20} MiB left" if free < _LEAST_FREE_BYTES else ""


def cache_folder(base_path: str) -> Path | None:
    """Hugging Face's folder under BASE_PATH; None, for Hugging Face's own default, where nothing
    can be kept there."""
    volume = inspect(base_path)
    return volume.hub.parent if volume.writable else None


def volume_notes(settings: Settings, volume: Volume, model: str) -> Iterator[str]:
    """A line where the volume is not what one may expect: what the worker does, what to change."""
    on_volume = model.startswith(f"{volume.folder}/")
    found_elsewhere = model != settings.model and not on_volume
    if volume.writable or is_folder(settings.model) or found_elsewhere:
        return  # nothing is downloaded
    where = f"BASE_PATH={volume.folder}"
    downloaded = "each worker downloads the model to its container"
    if volume.there and volume.problem:
        happens = "the model is read from there" if on_volume else downloaded
        yield (
            f"{where} {volume.problem}: {happens}, and compiled code is not saved. "
            "Make room on the volume, let the worker write to it, or name another folder."
        )
    elif volume.problem or not _is_the_platforms(volume.folder):
        problem = volume.problem or "is no folder and cannot be made"
        yield f"{where} {problem}: {downloaded}. Name a folder that the worker can write to."
    elif settings.on_runpod:
        yield (
            f"There is no network volume at {volume.folder}: {downloaded} and compiles it anew. "
            "Attach a volume to the endpoint, or build the model into the image."
        )
