"""Where values come from, and which one wins.

From the strongest to the weakest: VLLM_EXTRA_ARGS, the environment, the file that
WORKER_CONFIG_FILE names, the one that VLLM_CONFIG_FILE names, what the image was built with, the
worker's defaults, vLLM's defaults.
"""

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vllm_worker.configuration.catalogue import (
    catalogue,
    is_pictured,
    not_offered,
    picture,
    words,
)
from vllm_worker.configuration.settings import DEMO_MODEL
from vllm_worker.configuration.values import as_text, is_file, is_unset

IMAGE_DEFAULTS = Path("/etc/vllm-worker/defaults.yaml")
"""Variables and their values that were fixed when the image was built."""

ENVIRONMENT = "environment"
WORKER_DEFAULTS = "worker's defaults"
DEMO_DEFAULTS = "embedded model"


_OF_RUNPOD = {"RUNPOD_WEBHOOK_GET_JOB", "RUNPOD_ENDPOINT_ID", "RUNPOD_POD_ID"}
"""What the platform sets, of which the worker learns where it is."""


class Value(NamedTuple):
    """A variable's value as text, and the source that it comes from."""

    text: str
    origin: str


@dataclass
class Sources:
    """The merged sources: `values` by variable; the rest is described where it is read.

    `flags` are words of a command line from WORKER_CONFIG_FILE, `library_env` environment variables
    from there that are none of the worker's.
    """

    values: dict[str, Value] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    library_env: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    """Variables that nobody here knows: another release of vLLM may have an option of that name."""
    notes: list[str] = field(default_factory=list)

    def add(self, values: Mapping[str, Any], origin: str) -> None:
        """Values of a weaker source than all before it."""
        for name, value in values.items():
            text = as_text(value).strip()
            if not _counts_as_unset(name, text):
                self.values.setdefault(name, Value(text, origin))
            elif _ZERO.fullmatch(text):
                self.notes.append(f"{name}={text} counts as not set.")


_ZERO = re.compile(r"[+-]?0+(\.0*)?")


def _counts_as_unset(name: str, text: str) -> bool:
    """Whether a weaker source, or a default, has the word."""
    variable = catalogue().get(name)
    if variable and is_unset(variable, text):
        return True
    return name in words()["zero"]["unset"] and _ZERO.fullmatch(text) is not None


def read_sources(
    environ: Mapping[str, str], gpus: int, image_defaults: Path = IMAGE_DEFAULTS
) -> Sources:
    """Read every source; missing or malformed files are in `problems`."""
    sources = Sources()
    given = _known(environ)
    sources.add(given, ENVIRONMENT)
    given = {name: text for name, text in given.items() if name in sources.values}
    if "MODEL_NAME" in given:
        given["MODEL_NAME"] = _repository(sources, given["MODEL_NAME"])
        sources.values["MODEL_NAME"] = Value(given["MODEL_NAME"], ENVIRONMENT)
    if not is_pictured():
        sources.others |= {name: text for name, text in environ.items() if name not in given}
    image = _read(sources, str(image_defaults), "") if image_defaults.exists() else {}
    vllm = _vllm_config(sources, _first("VLLM_CONFIG_FILE", given, image))
    model = _first("MODEL_NAME", given, vllm, image) or DEMO_MODEL
    if path := _first("WORKER_CONFIG_FILE", given, image):
        _add_worker_config(sources, path, model)
    sources.add(vllm, "VLLM_CONFIG_FILE")
    sources.add(image, "image")
    if value := sources.values.get("MODEL_NAME"):  # WORKER_CONFIG_FILE may have named it
        model = _repository(sources, value.text)
        sources.values["MODEL_NAME"] = Value(model, value.origin)
    if model == DEMO_MODEL:
        sources.add(words()["demo_defaults"], DEMO_DEFAULTS)
    if not gpus:
        sources.add(words()["cpu_defaults"], "no GPU")
    sources.add(words()["defaults"], WORKER_DEFAULTS)
    return sources


def _known(environ: Mapping[str, str]) -> dict[str, str]:
    """The worker's variables, by their own names."""
    others = words()["retired"].keys() | words()["translated"].keys()
    known = catalogue().keys() | others | _OF_RUNPOD
    texts = {name: unquoted(value) for name, value in environ.items()}
    filled = {name: text for name, text in texts.items() if text}
    own = {name: text for name, text in filled.items() if name in known}
    for alias, name in words()["aliases"].items():
        if alias in filled and _counts_as_unset(name, own.get(name, "")):
            own[name] = filled[alias]
    return own


def unquoted(text: str) -> str:
    """Without the quotes around a whole value, which Docker keeps when it reads a file of them."""
    text = text.strip()
    quote = text[:1]
    if quote in ("'", '"') and len(text) > 1 and text[-1] == quote and quote not in text[1:-1]:
        return text[1:-1].strip()
    return text


_HUB_LINK = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/"
    r"((?!datasets/|spaces/)[^/?#]+/[^/?#]+)(?:/tree/([^?#]+?))?/?(?:[?#].*)?"
)
_CACHED = re.compile(r".*/models--([^/]+?)--([^/]+)(?:/snapshots/?)?")


def _repository(sources: Sources, name: str) -> str:
    """The repository that a link to the Hub or a folder of its cache stands for.

    A snapshot in that cache is a folder like any other.
    """
    name = name.strip()
    if match := _HUB_LINK.fullmatch(name):
        read = match[1]
        if match[2]:
            sources.add({"MODEL_REVISION": match[2]}, "MODEL_NAME")
    elif is_file(f"{name}/config.json"):
        return name
    elif match := _CACHED.fullmatch(name.rstrip("/")):
        read = f"{match[1]}/{match[2]}"
    else:
        return name.rstrip("/") or name
    sources.notes.append(f"MODEL_NAME is read as {read}.")  # a link may have a token in it
    return read


def _first(name: str, *layers: Mapping[str, Any]) -> str:
    return next((as_text(layer[name]) for layer in layers if layer.get(name)), "")


def _add_worker_config(sources: Sources, path: str, model: str) -> None:
    """The file's default with the model's own entry over it.

    An entry may have `environment` (variables), `flags` (options of vLLM and their values) and
    `extra_flags` (words of vLLM's command line).
    """
    content = _read(sources, path, "WORKER_CONFIG_FILE")
    origin, overrides = "WORKER_CONFIG_FILE", content.get("overrides") or {}
    for key in content.keys() - {"default", "overrides"}:
        known = "default, overrides"
        sources.problems.append(f"{origin}: unknown key {_shown(key)}; allowed: {known}.")
    if not isinstance(overrides, dict):
        sources.problems.append(f"{origin}: overrides must be a mapping.")
        overrides = {}
    by_lower = {str(name).lower(): entry for name, entry in overrides.items()}
    entries = [overrides.get(model, by_lower.get(model.lower())), content.get("default")]
    for entry in filter(None, entries):
        allowed = ["environment", "flags", "extra_flags"]
        if not isinstance(entry, dict):
            sources.problems.append(f"{origin}: an entry must be a mapping.")
            continue
        for key in entry.keys() - set(allowed):
            known = ", ".join(allowed)
            sources.problems.append(f"{origin}: unknown key {_shown(key)}; allowed: {known}.")
        environment = _mapping(sources, entry, "environment")
        ours = _known({name: as_text(value) for name, value in environment.items()})
        sources.add(ours, origin)
        sources.add(_by_variable(sources, _mapping(sources, entry, "flags"), origin), origin)
        of_ours = ours.keys() | words()["aliases"].keys()
        for name in environment.keys() - of_ours:
            sources.library_env.setdefault(name, as_text(environment[name]))
        # The default's words first, so that the model's own win.
        sources.flags[:0] = _words(sources, entry.get("extra_flags") or [])


def _mapping(sources: Sources, entry: dict[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key) or {}
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return value
    sources.problems.append(f"WORKER_CONFIG_FILE: {key} must be a mapping of names to values.")
    return {}


def _words(sources: Sources, value: Any) -> list[str]:
    """A list of words, or a line as one would type it."""
    if isinstance(value, str):
        with suppress(ValueError):
            return shlex.split(value)
    elif isinstance(value, list) and all(isinstance(word, str | int | float) for word in value):
        return [str(word) for word in value]
    sources.problems.append("WORKER_CONFIG_FILE: extra_flags must be a list of words.")
    return []


def _shown(key: Any) -> str:
    """A key that is not known, without what may be a value behind it."""
    return repr(re.split("[=:]", str(key))[0][:60])


def _vllm_config(sources: Sources, path: str) -> dict[str, Any]:
    content = _read(sources, path, "VLLM_CONFIG_FILE") if path else {}
    return _by_variable(sources, content, "VLLM_CONFIG_FILE")


def _by_variable(sources: Sources, flags: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Options of vLLM by the names of their variables."""
    aliases, values = words()["aliases"], {}
    for flag, value in flags.items():
        option = str(flag).lstrip("-").replace("-", "_")
        name = aliases.get(option.upper(), option.upper())
        if name in catalogue() and (name != option.upper() or option not in not_offered()):
            values[name] = value
        else:
            unknown = f"vLLM {picture()['vllm']} has no such option"
            reason = not_offered().get(option, unknown)
            if reason is unknown and not is_pictured():
                sources.others[option.upper()] = as_text(value)
            elif reason in words()["harmless"]:
                sources.notes.append(f"{origin}: {flag} has no effect: {reason}.")
            else:
                shown = _shown(flag)[1:-1]
                sources.problems.append(f"{origin}: {shown} cannot be set: {reason}.")
    return values


def _read(sources: Sources, path: str, variable: str) -> dict[str, Any]:
    """A YAML file that holds a mapping; else a problem and nothing."""
    where = f"{variable}={path!r}" if variable else path
    try:
        content = yaml.safe_load(Path(path).read_text()) or {}
        json.dumps(content, default=str)
    except OSError as error:
        sources.problems.append(f"{where}: cannot be read: {error.strerror}.")
    except yaml.MarkedYAMLError as error:
        # Not its text, which quotes the lines around, and so perhaps a secret.
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        sources.problems.append(f"{where}: is not valid YAML: {error.problem}{line}.")
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        sources.problems.append(f"{where}: cannot be read: {type(error).__name__}.")
    else:
        if isinstance(content, dict):
            return content
        sources.problems.append(f"{where}: must hold a mapping of names to values.")
    return {}
