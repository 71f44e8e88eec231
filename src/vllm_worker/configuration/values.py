"""One variable's value: read as text, checked, and put in the words of a command line.

vLLM's parser has the last word on its options; what is checked here needs no import of vLLM.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vllm_worker.configuration.catalogue import Variable, options
from vllm_worker.configuration.settings import parse_boolean
from vllm_worker.errors import nearest

_FLAG_WITHOUT_OPPOSITE = {"disable_log_stats", "aggregate_engine_logging"}


def as_text(value: Any) -> str:
    """A value of a YAML file as one would write it in the environment."""
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case dict() | list():
            return json.dumps(value, default=str)
    return str(value)


def is_unset(variable: Variable, text: str) -> bool:
    """Whether a value stands for "not set": empty, or None or auto where they mean nothing else."""
    if text == "":
        return True
    if text.lower() in variable.choices:
        return False
    if text.lower() in ("none", "null"):
        return True
    return text.lower() == "auto" and variable.type in ("boolean", "integer", "number")


def problem(variable: Variable, text: str, choices_known: bool = True) -> str | None:
    """The problem with a value of one of vLLM's options, or None.

    Without `choices_known` the installed vLLM may have other choices, and says so itself.
    """
    if not choices_known and variable.choices:
        return None
    if variable.choices and variable.type != "list" and text not in variable.choices:
        return f"must be one of {', '.join(variable.choices)}"
    if variable.type == "list" and not text.startswith(("{", "[")):
        return None  # another way to write it, which vLLM's parser knows
    read, expected = _READERS.get(variable.type, (str, ""))
    try:
        value = read(text)
    except json.JSONDecodeError as error:
        return f"is not valid JSON: {error}"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:
        return f"must be {expected}"
    if choices_known and variable.option and (fields := options()[variable.option].get("fields")):
        return _problem_of_fields(fields, value)
    return None


def _problem_of_fields(fields: Mapping[str, list[str]], given: Mapping[str, Any]) -> str | None:
    """All problems with a JSON object whose fields are known, or None."""
    problems = []
    for name, value in given.items():
        if name not in fields:
            hint = nearest(name, fields).strip()
            problems.append(f'has no field "{name}"' + (f" ({hint})" if hint else ""))
        # vLLM takes some of these in any case.
        elif fields[name] and str(value).lower() not in map(str.lower, [*fields[name], "none"]):
            problems.append(f'"{name}" must be one of {", ".join(fields[name])}')
    return "; ".join(problems) or None


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError
    return number


def _size(text: str) -> int:
    """As vLLM reads it: 8192, 8k (thousands) or 8K (of 1,024), also with a fraction."""
    if not re.fullmatch(r"\d+(\.\d+[kKmMgGtT])?[kKmMgGtT]?", text) and text not in ("auto", "-1"):
        raise ValueError
    return 0


def _object(text: str) -> object:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError
    return value


_READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "boolean": (parse_boolean, "0, 1, true or false"),
    "integer": (int, "an integer"),
    "number": (_number, "a number"),
    "size": (_size, "an integer, such as 8192 or 8k"),
    "JSON": (_object, "a JSON object"),
    "list": (json.loads, "a list"),
}


def as_words(variable: Variable, text: str, flag: str = "") -> list[str]:
    """An option as the words of a command line; without `flag`, by the one that is known."""
    assert variable.option
    flag = flag or options()[variable.option]["flag"]
    if variable.type == "boolean":
        if parse_boolean(text):
            return [flag]
        return [] if variable.option in _FLAG_WITHOUT_OPPOSITE else [flag.replace("--", "--no-", 1)]
    if variable.type == "list":
        words = (item if isinstance(item, str) else json.dumps(item) for item in items(text))
        return [flag, *words]
    # One word, so that a value may start with a dash.
    return [f"{flag}={text}"]


def items(text: str) -> list[Any]:
    """A JSON list, a JSON object alone, or items between commas or spaces."""
    if text.startswith(("[", "{")):
        value = json.loads(text)
        return value if isinstance(value, list) else [value]
    return text.replace(",", " ").split()


def is_file(path: str) -> bool:
    """Whether there is such a file, which no path is that is too long or that may not be seen."""
    with suppress(OSError, ValueError):
        return Path(path).is_file()
    return False


def is_folder(path: str) -> bool:
    """Likewise for folders."""
    with suppress(OSError, ValueError):
        return Path(path).is_dir()
    return False
