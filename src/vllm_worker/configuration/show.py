"""The configuration for people and programs."""

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vllm_worker.configuration.catalogue import Variable, catalogue

if TYPE_CHECKING:
    from vllm_worker.configuration import Configuration


_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY|ACCESS_KEY|CREDENTIAL")
"""In the names of other programs' variables."""
_SECRET_FIELD = re.compile(
    r"(^|[_-])(token|secret|password|passwd|api_?key|access_key|secret_key|credentials?)$", re.I
)
"""The names of fields in JSON options; those with tokens that are counted have another end."""
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s\"]+@")


def effective(configuration: "Configuration", as_json: bool = False) -> str:
    """Every described variable and every other that is set: its value and where that comes from."""
    rows = []
    for name, variable in catalogue().items():
        value = configuration.values.get(name)
        if value:
            rows.append((name, "***" if variable.secret else masked(value.text), value.origin))
        elif variable.category:
            default = "vLLM's default" if variable.option else "worker's defaults"
            rows.append((name, variable.default, default))
    if configuration.file_flags:
        words = " ".join(_masked_words(configuration.file_flags))
        rows.append(("extra_flags", words, "WORKER_CONFIG_FILE"))
    rows += [
        (name, "***" if _SECRET.search(name) else masked(text), "for libraries")
        for name, text in configuration.library_env.items()
        if name not in catalogue()
    ]
    if as_json:
        return json.dumps(
            {name: {"value": text, "origin": origin} for name, text, origin in rows}, indent=2
        )
    return table([("variable", "value", "where from"), *rows])


def masked(text: str) -> str:
    """Without the password of a URL, and without the secrets in an option's JSON, such as those of
    a connector, by itself or among the words of a command line.
    """
    text = _masked_json(text)
    if "--" in text:
        with suppress(ValueError):  # no words: a quotation without an end
            words = shlex.split(text)
            shown = _masked_words(words)
            text = text if shown == words else shlex.join(shown)
    return _URL_PASSWORD.sub("***@", text)


def _masked_words(words: Sequence[str]) -> list[str]:
    shown, is_secret = [], False
    for word in words:
        name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        hidden = "***" if is_secret or (equals and _names_secret(name)) else _masked_json(value)
        shown.append(name + equals + (hidden if value else ""))
        is_secret = not equals and _names_secret(name)
    return [_URL_PASSWORD.sub("***@", word) for word in shown]


def _names_secret(option: str) -> bool:
    """Of a field of a JSON option, as in --kv-transfer-config.password."""
    return bool(_SECRET_FIELD.search(option.rpartition(".")[2]))


def _masked_json(text: str) -> str:
    if text.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
            shown = _masked_fields(value)
            return text if shown == value else json.dumps(shown, ensure_ascii=False)
    return text


def _masked_fields(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked_fields(inside) for inside in value]
    if not isinstance(value, dict):
        return value
    return {
        name: "***"
        if isinstance(inside, str) and _SECRET_FIELD.search(name)
        else _masked_fields(inside)
        for name, inside in value.items()
    }


def listing(word: str) -> str:
    """All variables whose name or description has the word, with type, default and meaning."""
    found = [
        variable
        for variable in catalogue().values()
        if word.lower() in f"{variable.name} {variable.description}".lower()
    ]
    if not found:
        return f"no variable matches {word!r}"
    rows = [(v.name, v.type, v.default or "-", meaning(v)) for v in found]
    return table([("variable", "type", "default", "meaning"), *rows])


def meaning(variable: Variable) -> str:
    """The description, or for vLLM's other options their choices or flag."""
    if variable.description:
        return variable.description
    if variable.choices:
        return f"one of {', '.join(variable.choices)}"
    return f"vLLM's --{(variable.option or '').replace('_', '-')}"


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns under each other, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0  # nothing stands behind the last column
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
