"""A model's config.json and the size of its weights, without their download."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vllm_worker.errors import ConfigurationError

INDEX = "model.safetensors.index.json"
_WEIGHTS = (".safetensors", ".bin", ".pt")
"""Forms of weights, the preferred one first."""
_TEXT = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".py"}
"""Configuration, tokenizers, templates and a model's own code."""
_OTHER_FRAMEWORKS = {"original", "onnx", "openvino", "coreml", "metal", "gguf", "tf", "flax"}
_NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state")


@dataclass(frozen=True)
class ModelFiles:
    """`weights` are bytes; `source` says where that number is from."""

    config: Mapping[str, Any]
    weights: int
    source: str


def read_model(model: str, revision: str | None) -> ModelFiles:
    """Read a folder, or a repository in Hugging Face's cache or on the Hub.

    From the Hub come the small files only. Raises ConfigurationError.
    """
    is_folder = Path(model).is_dir()
    folder = Path(model) if is_folder else _small_files(model, revision)
    if (config := _read(folder / "config.json")) is None:
        raise ConfigurationError([f"{model} has no config.json."])
    index = _read(folder / INDEX) or {}
    there = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    if weights := weights_of(there, index):
        return ModelFiles(config, weights, "by the sizes of the files")
    if not is_folder and (weights := weights_of(_listed_files(model, revision), index)):
        return ModelFiles(config, weights, "by the sizes of the files on the Hub")
    if weights := int((index.get("metadata") or {}).get("total_size") or 0):
        return ModelFiles(config, weights, f"by {INDEX}")
    raise ConfigurationError([f"{model}: the size of its weights is not known: no safetensors."])


def weights_of(sizes: Mapping[str, int], index: Mapping[str, Any]) -> int:
    """The bytes of the files that vLLM reads, of these; 0 if they are not all there."""
    named = set((index.get("weight_map") or {}).values())
    if named and named <= sizes.keys():
        return sum(sizes[name] for name in named)
    if named and any(name.endswith(".safetensors") for name in sizes):
        return 0
    return sum(sizes[name] for name in wanted_weights([name for name in sizes if "/" not in name]))


def wanted_weights(files: Collection[str]) -> list[str]:
    """Of these files, the weights that vLLM reads: one form of them, safetensors if there are any.

    The consolidated form, which repeats the sharded one, only where it is alone.
    """
    for suffix in _WEIGHTS:
        found = [
            file
            for file in files
            if file.endswith(suffix) and not PurePosixPath(file).name.startswith(_NOT_WEIGHTS)
        ]
        sharded = [f for f in found if not PurePosixPath(f).name.startswith("consolidated")]
        if found:
            return sharded or found
    return []


def wanted_files(files: list[str], weights: bool = True) -> list[str]:
    """Of a repository's files, those that vLLM reads.

    Weights in one form only, see `wanted_weights`.
    """
    paths = [path for path in map(PurePosixPath, files) if not _OTHER_FRAMEWORKS & {*path.parts}]
    wanted = [str(path) for path in paths if path.suffix in _TEXT]
    return wanted + (wanted_weights([str(path) for path in paths]) if weights else [])


def _small_files(model: str, revision: str | None) -> Path:
    """The model's folder in the cache, with config.json and the index in it."""
    from huggingface_hub import snapshot_download  # a quarter of a second
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        wanted = ["config.json", INDEX]
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        line = (
            f"{model} is no folder, and neither in the cache nor to be had from the Hub: {reason}"
        )
        raise ConfigurationError([line]) from None


def _listed_files(model: str, revision: str | None) -> dict[str, int]:
    """Names and sizes of a repository's files; none if the Hub does not answer."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True)
    except Exception:
        return {}  # the index will do
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None if there is no such file."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"{path} cannot be read: {error}."]) from None
    if not isinstance(content, dict):
        raise ConfigurationError([f"{path} must hold a JSON object."])
    return content
