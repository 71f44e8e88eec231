"""Pydantic's findings about a job, in the words of JSON."""

import json
from math import isfinite
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vllm_worker.errors import BadRequest, nearest

_MOST_FINDINGS = 10

_INNER = {
    "body": "Fields of the request go in body.",
}
"""Field of an input → where what people put beside it belongs."""


def bad_request(error: ValidationError, form: type[BaseModel], prefix: str = "") -> BadRequest:
    """Names the first wrong field in `param` and the first ten in its message.

    `prefix` comes before the names of the fields of `form`.
    """
    details = error.errors(include_url=False)
    messages = " ".join(_explain(detail, form, prefix) for detail in details[:_MOST_FINDINGS])
    if len(details) > _MOST_FINDINGS:
        messages += f" And {len(details) - _MOST_FINDINGS} more."
    param = _param(details[0])
    return BadRequest(messages, prefix + param if param else None)


def _param(detail: ErrorDetails) -> str:
    """`messages.0.role`, without the names of union members that pydantic puts in between."""
    parts = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        return ".".join(parts)
    return ".".join(p for p in parts if p.isdigit() or (p.isidentifier() and p != "str"))


def _explain(detail: ErrorDetails, form: type[BaseModel], prefix: str) -> str:
    name = _param(detail)
    param = prefix + name
    match detail["type"]:
        case "extra_forbidden":
            known = [field.alias or name for name, field in form.model_fields.items()]
            inner = "".join(f" {what}" for field, what in _INNER.items() if field in known)
            hint = nearest(name, known) or f" Known fields: {', '.join(known)}.{inner}"
            return f"{param if name else '(an empty name)'} is not a field of this input.{hint}"
        case "missing":
            return f"{param} is missing."
        case "one_prompt":
            return detail["msg"]
        case "header" | "closed":
            return f"{param}: {detail['msg']}."
        case "literal_error":
            return f"{param} must be {_as_json(detail['ctx']['expected'])}."
        case "string_pattern_mismatch":
            return f"{param} must start with a slash, such as /v1/chat/completions."
        case "too_short":
            return f"{param} must not be empty."
        case _:
            allowed = detail["msg"].removeprefix("Input should be ")
            return f"{param} should be {allowed}, not {json_type(detail['input'])}."


def json_type(value: Any) -> str:
    """JSON's name for a value; numbers are shown, since only their size can be wrong."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return f"{value}"
        case str():
            return "a string"
        case dict():
            return "an object"
        case list():
            return "an array" if value else "an empty array"
        case _:
            return type(value).__name__


def json_text(value: Any, prefix: str = "") -> str:
    """The JSON of a value in a job. `prefix` comes before the name of a field in an error.

    Raises BadRequest for NaN and infinities: Python's parser takes them, JSON does not have them.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        param = (prefix + ".".join(_way_to_no_number(value) or ())).rstrip(".")
        raise BadRequest(f"{param} should be a number, not NaN or infinite.", param) from None


def _way_to_no_number(value: Any) -> list[str] | None:
    """The names and indices that lead to the first number that JSON does not have."""
    if isinstance(value, float) and not isfinite(value):
        return []
    if isinstance(value, list):
        value = dict(enumerate(value))
    for name, child in value.items() if isinstance(value, dict) else ():
        if (way := _way_to_no_number(child)) is not None:
            return [str(name), *way]
    return None


def _as_json(values: str) -> str:
    """`True or 'x'` as `true or "x"`."""
    return values.replace("True", "true").replace("False", "false").replace("'", '"')
