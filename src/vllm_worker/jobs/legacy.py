"""Parameters of requests that vLLM has renamed, under the names that clients still use.

vLLM ignores fields that it does not know, so an old name would otherwise be dropped without a word.
"""

from typing import Any

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.validation import json_type

LEGACY_NAMES = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
"""Old name → field of `structured_outputs`, as vLLM's documentation gives it."""

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "guided_json": ((dict, str), "an object or a string"),
    "guided_choice": ((list,), "an array"),
}
_TEXT = ((str,), "a string")


def with_current_names(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The parameters with `structured_outputs` in place of the old names.

    Raises BadRequest for a wrong type, and when more than one constraint is given; `prefix` comes
    before the names of fields in it.
    """
    old = [name for name in LEGACY_NAMES if parameters.get(name) is not None]
    if not old:
        return parameters
    given = [*old, *(["structured_outputs"] if parameters.get("structured_outputs") else [])]
    if len(given) > 1:
        raise BadRequest(f"Give only one of {', '.join(given)}.", f"{prefix}{given[0]}")
    types, allowed = _TYPES.get(old[0], _TEXT)
    if not isinstance(value := parameters[old[0]], types):
        field = f"{prefix}{old[0]}"
        raise BadRequest(f"{field} should be {allowed}, not {json_type(value)}.", field)
    kept = {name: value for name, value in parameters.items() if name not in LEGACY_NAMES}
    return kept | {"structured_outputs": {LEGACY_NAMES[old[0]]: parameters[old[0]]}}
