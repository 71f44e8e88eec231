"""The arguments of calls that a request demands, and the JSON in structural tags, by which vLLM has
the model write calls.
"""

import json
from collections.abc import Iterator
from typing import Any


def with_strict_tools(body: dict[str, Any]) -> dict[str, Any] | None:
    """The body with `strict` on its tools; None unless it demands a call and leaves it open.

    Without `strict`, vLLM holds a demanded call to its form only, and not its arguments to their
    schema. A request that says `"strict": true` of one tool has decided about all; `false` decides
    nothing: clients send it by default, or with a schema that is outside of OpenAI's strict subset.
    """
    tools = body.get("tools")
    if not _demands_call(body.get("tool_choice")) or not isinstance(tools, list):
        return None
    if not all(isinstance(tool, dict) for tool in tools):
        return None  # vLLM says what is wrong with it
    if any(_function(tool).get("strict") for tool in tools):
        return None
    return body | {"tools": [_strict(tool) for tool in tools]}


def _demands_call(choice: Any) -> bool:
    """In the form of chat completions and Responses, or of Anthropic's Messages."""
    if isinstance(choice, dict):
        return choice.get("type") in ("function", "any", "tool")
    return bool(choice == "required")


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    """Chat completions have it in a field of its own."""
    function = tool.get("function")
    return function if isinstance(function, dict) else tool


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    strict = _function(tool) | {"strict": True}
    return strict if _function(tool) is tool else tool | {"function": strict}


def with_any_arguments(structural_tag: str) -> str:
    """The structural tag with calls in the same form, whose arguments follow no schema."""
    return _with(structural_tag, json_schema=True)


def with_single_spaces(structural_tag: str) -> str:
    """The structural tag with no more than one character of white space in a row in JSON.

    For xgrammar, which with `disable_any_whitespace` leaves white space out of the outputs of JSON
    schemas, but not out of calls: vLLM does not tell it in a structural tag.
    """
    return _with(structural_tag, max_whitespace_cnt=1)


def _with(structural_tag: str, **options: Any) -> str:
    """With the options for each part that is JSON."""
    try:
        tag = json.loads(structural_tag)
    except (ValueError, RecursionError):
        return structural_tag  # vLLM says what is wrong with it
    for part in _json_parts(tag):
        part.update(options)
    return json.dumps(tag)


def _json_parts(tag: Any) -> Iterator[dict[str, Any]]:
    rest = [tag]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += value
        elif isinstance(value, dict):
            if value.get("type") == "json_schema" and "json_schema" in value:
                yield value
            else:
                rest += value.values()
