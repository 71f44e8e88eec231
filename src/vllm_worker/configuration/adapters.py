"""Problems in LORA_MODULES that can be found without vLLM."""

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from vllm_worker.configuration.catalogue import catalogue
from vllm_worker.configuration.sources import ENVIRONMENT, Sources
from vllm_worker.configuration.values import is_folder, items

KEYS = ("name", "path", "base_model_name", "is_3d_lora_weight")
"""Keys of an adapter's object."""

_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")
_NEEDED = ("r", "lora_alpha", "target_modules")


def find_adapter_problems(sources: Sources, served_names: Collection[str]) -> Iterator[str]:
    """A line for each adapter that cannot be right, by its number and its name."""
    value = sources.values.get("LORA_MODULES")
    if value is None:
        return
    where = "" if value.origin == ENVIRONMENT else f" ({value.origin})"
    try:
        entries = items(value.text)
    except (ValueError, RecursionError):
        return  # said already
    if not entries:
        yield f"LORA_MODULES={value.text!r}{where}: lists no adapter."
    taken = set(served_names)
    max_rank = _max_rank(sources)
    for number, entry in enumerate(entries, start=1):
        adapter = _read(entry)
        name = str(adapter.get("name") or "") if isinstance(adapter, dict) else ""
        if wrong := _wrong(adapter, taken, max_rank):
            named = f" ({name})" if name else ""
            yield f"LORA_MODULES{where}: adapter {number}{named}: {wrong}."
        taken.add(name)


def _on_command_line(sources: Sources, flag: str) -> bool:
    """Whether words of vLLM's command line set an option, in which case it is left to vLLM."""
    extra = sources.values.get("VLLM_EXTRA_ARGS")
    words = [*sources.flags, *(extra.text.split() if extra else [])]
    return any(word.partition("=")[0].replace("_", "-") == flag for word in words)


def _max_rank(sources: Sources) -> int | None:
    """The highest rank that an adapter may have; None where that cannot be seen."""
    if _on_command_line(sources, "--max-lora-rank"):
        return None
    value = sources.values.get("MAX_LORA_RANK")
    text = value.text if value else catalogue()["MAX_LORA_RANK"].default
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _read(entry: Any) -> Any:
    """A pair as the object that says the same; other entries as they are."""
    if not isinstance(entry, str):
        return entry
    name, equals, path = entry.partition("=")
    # vLLM takes what has a comma for JSON.
    return {"name": name, "path": path} if equals and "," not in entry else entry


def _wrong(adapter: Any, taken: Collection[str], max_rank: int | None) -> str | None:
    if not isinstance(adapter, dict):
        return f"{json.dumps(adapter)} is neither name=path nor a JSON object"
    for key in ("name", "path"):
        if not isinstance(adapter.get(key), str) or not adapter[key]:
            return f"has no {key}"
    if unknown := adapter.keys() - set(KEYS):
        return f"unknown key {min(unknown)!r}; allowed: {', '.join(KEYS)}"
    if adapter["name"] in taken:
        return "the model or an adapter before it has the same name"
    return _wrong_path(adapter["path"], max_rank)


def _wrong_path(path: str, max_rank: int | None) -> str | None:
    folder = Path(os.path.expanduser(path))  # noqa: PTH111 (vLLM's, which leaves ~nobody as it is)
    if not (is_folder(str(folder)) or path.startswith((".", "~", "/")) or path.count("/") > 1):
        return None  # vLLM looks for a repository of this name
    if not is_folder(str(folder)):
        return f"{path} is not a folder"
    if not (folder / _CONFIG).is_file():
        return f"{path} has no {_CONFIG}"
    if not any((folder / file).is_file() for file in _WEIGHTS):
        return f"{path} has none of {', '.join(_WEIGHTS)}"
    return _wrong_config(folder / _CONFIG, max_rank)


def _wrong_config(path: Path, max_rank: int | None) -> str | None:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return f"{path} cannot be read: {error}"
    if not isinstance(config, dict):
        return f"{path} is not a JSON object"
    if missing := [key for key in _NEEDED if key not in config]:
        return f"{path} has no {', '.join(missing)}, so it is not LoRA in PEFT's format"
    patterns = config.get("rank_pattern") or {}
    ranks = [config["r"], *(patterns.values() if isinstance(patterns, dict) else [])]
    rank = max((rank for rank in ranks if isinstance(rank, int)), default=0)
    if max_rank is not None and rank > max_rank:
        return f"its rank is {rank}, above MAX_LORA_RANK={max_rank}"
    return None
