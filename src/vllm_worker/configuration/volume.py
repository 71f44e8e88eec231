"""BASE_PATH, which a network volume may be: what can be done there, and which model is there."""

import errno
import os
import re
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vllm_worker.configuration.settings import Settings
from vllm_worker.configuration.sources import Sources, Value

_DEFAULT = Settings.model_fields["base_path"].default
_PROBE_BYTES = 2**20
_LEAST_FREE_BYTES = 2**30
"""With less than this, no model fits any more."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_PART = re.compile(r"(?P<name>.+)-\d+-of-(?P<of>\d+)\.\w+")


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
        can_be_made = os.access(folder.parent, os.W_OK) and base_path != _DEFAULT
        return Volume(folder, can_be_made)
    except OSError as error:
        return Volume(folder, False, f"cannot be reached ({error.strerror})")
    return Volume(folder, False)


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


def find_model(settings: Settings, sources: Sources, volume: Volume) -> str:
    """The model that vLLM loads: its name, or its folder on the volume.

    The folder, where the cache has lower-cased the name, which RunPod's own model cache may do, so
    that huggingface_hub does not find it; and where nothing can be written, since huggingface_hub
    wants to as soon as the Hub has a newer commit.
    """
    name = settings.model_name
    if not volume.there or "/" not in name or Path(name).is_dir():
        return settings.model
    revision = sources.values.get("MODEL_REVISION")
    repository = volume.hub / f"models--{name.replace('/', '--')}"
    if volume.problem:
        found = _snapshot(_any_case(repository), revision.text if revision else "main")
        return str(found) if found and _is_whole(found) else name
    if revision or repository.exists():
        return name
    found = _newest(_any_case(repository))
    return str(found) if found else name


def find_tokenizer(sources: Sources, volume: Volume) -> None:
    """Replace TOKENIZER_NAME by its folder on a volume that cannot be written to."""
    name = sources.values.get("TOKENIZER_NAME")
    if not volume.problem or not name or Path(name.text).is_dir():
        return
    revision = sources.values.get("TOKENIZER_REVISION")
    repository = volume.hub / f"models--{name.text.replace('/', '--')}"
    found = _snapshot(_any_case(repository), revision.text if revision else "main")
    if found and any(found.glob("tokenizer*")):
        sources.values["TOKENIZER_NAME"] = Value(str(found), name.origin)


def volume_notes(settings: Settings, volume: Volume, model: str) -> Iterator[str]:
    """A line where the volume is not what one may expect: what the worker does, what to change."""
    if volume.writable or Path(settings.model).is_dir():
        return  # in a folder of its own, nothing is downloaded
    where = f"BASE_PATH={volume.folder}"
    downloaded = "each worker downloads the model to its container"
    if volume.there and volume.problem:
        found = model != settings.model
        happens = "the model is read from there" if found else downloaded
        yield (
            f"{where} {volume.problem}: {happens}, and compiled code is not saved. "
            "Make room on the volume, let the worker write to it, or name another folder."
        )
    elif volume.problem or settings.base_path != _DEFAULT:
        problem = volume.problem or "is no folder and cannot be made"
        yield f"{where} {problem}: {downloaded}. Name a folder that the worker can write to."
    elif settings.on_runpod:
        yield (
            f"There is no network volume at {volume.folder}: {downloaded} and compiles it anew. "
            "Attach a volume to the endpoint, or build the model into the image."
        )


def _any_case(repository: Path) -> Path:
    """The folder of this name; else one whose name differs in case alone."""
    if repository.exists() or not repository.parent.is_dir():
        return repository
    alike = (
        path
        for path in repository.parent.iterdir()
        if path.name.lower() == repository.name.lower() and _newest(path)
    )
    return next(alike, repository)


def _snapshot(repository: Path, revision: str) -> Path | None:
    """The files of a branch, tag or commit; for the default branch, without a note of which commit
    that is, the newest ones."""
    ref = repository / "refs" / revision
    commit = ref.read_text().strip() if ref.is_file() else revision
    snapshot = repository / "snapshots" / commit
    if snapshot.is_dir():
        return snapshot
    return _newest(repository) if revision == "main" and not ref.is_file() else None


def _newest(repository: Path) -> Path | None:
    snapshots = [path for path in (repository / "snapshots").glob("*") if path.is_dir()]
    return max(snapshots, key=lambda path: path.stat().st_mtime, default=None)


def _is_whole(snapshot: Path) -> bool:
    """Whether all weights are there, as far as their names say ("model-00001-of-00004"); a download
    that was cut off leaves some of them."""
    names = {path.name for path in snapshot.iterdir() if path.exists()}
    weights = {name for name in names if name.endswith(_WEIGHTS)}
    parts = [match for match in map(_PART.fullmatch, weights) if match]
    found = Counter((match["name"], match["of"]) for match in parts)
    return (
        "config.json" in names
        and bool(weights)
        and all(count == int(of) for (_, of), count in found.items())
    )
