"""A model that is in Hugging Face's cache is loaded from there, without a question to the Hub.

A worker then starts whatever the Hub does, and all workers that share a cache serve one commit.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vllm_worker.configuration.settings import Settings
from vllm_worker.configuration.sources import Sources, Value
from vllm_worker.configuration.volume import Volume

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_PART = re.compile(r"(?P<name>.+)-\d+-of-(?P<of>\d+)\.\w+")
_TOKENIZER = re.compile(r"(tokenizer|vocab|tekken|merges|spiece).*|.+\.(model|tiktoken)")


def find_model(
    settings: Settings, sources: Sources, environ: Mapping[str, str], volume: Volume
) -> str:
    """The model that vLLM loads: its folder in a cache that has all of it, else its name.

    RunPod's own cache may have lower-cased the name, which huggingface_hub would not find.
    """
    name = settings.model_name
    if "/" not in name or Path(name).is_dir():
        return settings.model
    own_tokenizer = {"TOKENIZER_NAME", "SKIP_TOKENIZER_INIT"} & sources.values.keys()
    for snapshot in _snapshots(name, sources, "MODEL_REVISION", environ, volume):
        names = _files(snapshot)
        if _is_whole(names) and (own_tokenizer or any(map(_TOKENIZER.fullmatch, names))):
            return str(snapshot)
    return name


def find_tokenizer(sources: Sources, environ: Mapping[str, str], volume: Volume) -> None:
    """Replace TOKENIZER_NAME by its folder in a cache."""
    value = sources.values.get("TOKENIZER_NAME")
    if not value or "/" not in value.text or Path(value.text).is_dir():
        return
    for snapshot in _snapshots(value.text, sources, "TOKENIZER_REVISION", environ, volume):
        if any(map(_TOKENIZER.fullmatch, _files(snapshot))):
            sources.values["TOKENIZER_NAME"] = Value(str(snapshot), value.origin)
            return


def cache_note(settings: Settings, sources: Sources, model: str) -> Iterator[str]:
    """A line where somebody may expect a newer commit than the one in the cache."""
    if model != settings.model and "MODEL_REVISION" not in sources.values:
        commit = Path(model).name
        yield (
            f"{settings.model_name} is read from Hugging Face's cache, commit {commit[:7]}: "
            "the Hub is not asked for a newer one. MODEL_REVISION names another."
        )


def _snapshots(
    name: str, sources: Sources, variable: str, environ: Mapping[str, str], volume: Volume
) -> Iterator[Path]:
    """Where the files of this repository may be, at the revision that a variable names."""
    value = sources.values.get(variable)
    revision = value.text if value else "main"
    for hub in _hubs(environ, volume):
        with suppress(OSError):  # a home that belongs to somebody else
            repository = _any_case(hub / f"models--{name.replace('/', '--')}")
            yield from _at_revision(repository, revision)


def _hubs(environ: Mapping[str, str], volume: Volume) -> Iterator[Path]:
    """The folder with the libraries' repositories, then the volume's if it is another."""
    caches = environ.get("XDG_CACHE_HOME") or "~/.cache"
    default = volume.hub.parent if volume.writable else f"{caches}/huggingface"
    home = environ.get("HF_HOME") or default
    hub = environ.get("HF_HUB_CACHE") or f"{home}/hub"
    own = Path(os.path.expanduser(hub))  # noqa: PTH111 (never raises)
    yield own
    if volume.there and volume.hub != own:
        yield volume.hub


def _any_case(repository: Path) -> Path:
    """The folder of this name; else one whose name differs in case alone."""
    if repository.exists() or not repository.parent.is_dir():
        return repository
    alike = (
        path
        for path in repository.parent.iterdir()
        if path.name.lower() == repository.name.lower() and (path / "snapshots").is_dir()
    )
    return next(alike, repository)


def _at_revision(repository: Path, revision: str) -> Iterator[Path]:
    """The files of a branch, tag or commit; for the default branch those of every commit, newest
    first, after the one that is noted for it.
    """
    ref = repository / "refs" / revision
    noted = repository / "snapshots" / (ref.read_text().strip() if ref.is_file() else revision)
    if noted.is_dir():
        yield noted
    if revision == "main":
        others = [path for path in noted.parent.glob("*") if path.is_dir() and path != noted]
        yield from sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)


def _files(snapshot: Path) -> set[str]:
    """Names of files that are there, which a link to a download that was cut off is not."""
    return {path.name for path in snapshot.iterdir() if path.exists()}


def _is_whole(names: Collection[str]) -> bool:
    """Whether all weights are there, as far as their names say ("model-00001-of-00004")."""
    weights = {name for name in names if name.endswith(_WEIGHTS)}
    parts = [match for match in map(_PART.fullmatch, weights) if match]
    found = Counter((match["name"], match["of"]) for match in parts)
    return (
        "config.json" in names
        and bool(weights)
        and all(count == int(of) for (_, of), count in found.items())
    )
