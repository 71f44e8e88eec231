"""A model that is in Hugging Face's cache is loaded from there, without asking the Hub.

So a worker starts even when the Hub is down, and all workers that share a cache serve one commit.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from vllm_worker.configuration.model_files import INDEX, wanted_weights, weights_of
from vllm_worker.configuration.settings import DEMO_MODEL, SMALL_MODEL, Settings, is_true
from vllm_worker.configuration.sources import Sources, Value
from vllm_worker.configuration.values import is_folder
from vllm_worker.configuration.volume import Volume

_PART = re.compile(r"(?P<name>.+)-\d+-of-(?P<of>\d+)\.\w+")
_TOKENIZER = re.compile(r"(tokenizer|vocab|tekken|merges|spiece).*|.+\.(model|tiktoken)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Snapshot(NamedTuple):
    """A commit's folder, and the names of the files that are there: not those of links to a
    download that was cut off.
    """

    folder: Path
    names: set[str]

    @property
    def has_tokenizer(self) -> bool:
        return any(map(_TOKENIZER.fullmatch, self.names))

    def is_whole(self, load_format: str) -> bool:
        """Whether everything is there that vLLM loads, as far as the index of the weights or the
        names of their parts ("model-00001-of-00004") say.
        """
        names = self.names
        if load_format == "mistral":
            names = {name for name in names if not name.startswith("model")}
        if not names & {"config.json", "params.json"}:
            return False
        if INDEX in names:
            return self._has_all_of_index()
        wanted = wanted_weights(names)
        parts = [match for match in map(_PART.fullmatch, wanted) if match]
        found = Counter((match["name"], match["of"]) for match in parts)
        return bool(wanted) and all(count == int(of) for (_, of), count in found.items())

    def _has_all_of_index(self) -> bool:
        """False for an index that cannot be read: vLLM could not either."""
        try:
            index = json.loads((self.folder / INDEX).read_text())
            return weights_of(dict.fromkeys(self.names, 1), index) > 0
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return False


def find_model(
    settings: Settings, sources: Sources, environ: Mapping[str, str], volume: Volume
) -> str:
    """The model that vLLM loads: its folder in a cache that has all of it, else its name.

    RunPod's own cache may have lower-cased the name, which huggingface_hub would not find.
    """
    name = settings.model_name
    if name == DEMO_MODEL or is_folder(name):
        return settings.model
    given = {name: value.text for name, value in sources.values.items()}
    skipped = is_true(given.get("SKIP_TOKENIZER_INIT", ""))
    needs_tokenizer = "TOKENIZER_NAME" not in given and not skipped
    for snapshot in _snapshots(name, given.get("MODEL_REVISION"), _hubs(sources, environ, volume)):
        whole = snapshot.is_whole(given.get("LOAD_FORMAT", "auto"))
        if whole and (snapshot.has_tokenizer or not needs_tokenizer):
            return str(snapshot.folder)
    return name


def find_tokenizer(sources: Sources, environ: Mapping[str, str], volume: Volume) -> None:
    """Replace TOKENIZER_NAME by its folder in a cache."""
    value = sources.values.get("TOKENIZER_NAME")
    if not value or is_folder(value.text):
        return
    revision = sources.values.get("TOKENIZER_REVISION")
    hubs = _hubs(sources, environ, volume)
    for snapshot in _snapshots(value.text, revision and revision.text, hubs):
        if snapshot.has_tokenizer:
            sources.values["TOKENIZER_NAME"] = Value(str(snapshot.folder), value.origin)
            return


def cache_note(settings: Settings, sources: Sources, model: str) -> Iterator[str]:
    """A line where somebody may expect a newer commit than the one in the cache."""
    revision = sources.values.get("MODEL_REVISION")
    is_commit = revision and _COMMIT.fullmatch(revision.text)
    is_fixed = is_commit or settings.model_name == SMALL_MODEL
    if model != settings.model and not is_fixed:
        yield (
            f"{settings.model_name} is read from Hugging Face's cache, commit "
            f"{Path(model).name[:7]}. The Hub is not asked for a newer one: to serve another "
            "commit, set MODEL_REVISION to it."
        )


def _hubs(sources: Sources, environ: Mapping[str, str], volume: Volume) -> list[Path]:
    """The folders that have repositories: those of the libraries, and the volume's."""
    set_there = {**sources.library_env, **environ}
    caches = set_there.get("XDG_CACHE_HOME") or "~/.cache"
    default = volume.hub.parent if volume.writable else f"{caches}/huggingface"
    home = set_there.get("HF_HOME") or default
    variables = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    own = next((set_there[name] for name in variables if set_there.get(name)), f"{home}/hub")
    download = sources.values.get("DOWNLOAD_DIR")
    folders = [download.text] if download else []
    folders += [own, str(volume.hub)] if volume.there else [own]
    # os.path's never raises.
    return [Path(os.path.expanduser(folder)) for folder in dict.fromkeys(folders)]  # noqa: PTH111


def _snapshots(name: str, revision: str | None, hubs: list[Path]) -> Iterator[Snapshot]:
    """Where the files of this repository are at a branch, tag or commit; the best first."""
    for hub in hubs:
        # A home that belongs to somebody else, or a disk in trouble.
        with suppress(OSError, ValueError):
            for repository in _any_case(hub / f"models--{name.replace('/', '--')}"):
                for folder in _at_revision(repository, revision or "main"):
                    there = {path.name for path in folder.iterdir() if path.exists()}
                    yield Snapshot(folder, there)


def _any_case(repository: Path) -> Iterator[Path]:
    """The folder of this name, then those whose names differ in case alone."""
    if repository.is_dir():
        yield repository
    if repository.parent.is_dir():
        for path in repository.parent.iterdir():
            if path.name.lower() == repository.name.lower() and path != repository:
                yield path


def _at_revision(repository: Path, revision: str) -> Iterator[Path]:
    """The files of a branch, tag or commit; for the default branch also those of commits that no
    name is noted for, newest first.
    """
    refs = {str(ref.relative_to(repository / "refs")): ref.read_text().strip()
            for ref in (repository / "refs").rglob("*") if ref.is_file()}  # fmt: skip
    snapshots = repository / "snapshots"
    noted = snapshots / refs.get(revision, revision)
    if noted.is_dir():
        yield noted
    if revision == "main":
        named = {noted.name, *refs.values()}
        others = [path for path in snapshots.glob("*") if path.is_dir() and path.name not in named]
        yield from sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
