"""Which tools of a request become strict, and what becomes of the calls in structural tags."""

import copy
import json
from typing import Any

import pytest

from vllm_worker.decoding.tool_arguments import (
    with_any_arguments,
    with_single_spaces,
    with_strict_tools,
)

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
RESPONSES: dict[str, Any] = {"type": "function", "name": "f", "parameters": SCHEMA}
MESSAGES: dict[str, Any] = {"name": "f", "input_schema": SCHEMA}


@pytest.mark.parametrize(
    ("tool", "choice"),
    [
        (CHAT, "required"),
        (CHAT, {"type": "function", "function": {"name": "f"}}),
        (RESPONSES, "required"),
        (RESPONSES, {"type": "function", "name": "f"}),
        (MESSAGES, {"type": "any"}),
        (MESSAGES, {"type": "tool", "name": "f"}),
    ],
)
@pytest.mark.parametrize("said", [{}, {"strict": None}, {"strict": False}])
def test_a_demanded_call_is_strict(tool: Any, choice: Any, said: dict[str, Any]) -> None:
    if "function" in tool:
        tool, strict = (
            tool | {"function": tool["function"] | more} for more in (said, {"strict": True})
        )
    else:
        tool, strict = tool | said, tool | {"strict": True}
    body = {"tools": [tool], "tool_choice": choice, "n": 1}
    before = copy.deepcopy(body)
    assert with_strict_tools(body) == {"tools": [strict], "tool_choice": choice, "n": 1}
    assert body == before


@pytest.mark.parametrize(
    "choice", [None, "auto", "none", {"type": "auto"}, {"type": "none"}, 5, ["required"], {}]
)
def test_others_are_left(choice: Any) -> None:
    assert with_strict_tools({"tools": [CHAT], "tool_choice": choice}) is None


def test_a_request_that_says_it_itself_is_left() -> None:
    said = RESPONSES | {"strict": True}
    assert with_strict_tools({"tools": [RESPONSES, said], "tool_choice": "required"}) is None


@pytest.mark.parametrize("tools", [None, "f", [None], ["f"], {"a": 1}])
def test_what_is_no_list_of_tools_is_left_to_vllm(tools: Any) -> None:
    assert with_strict_tools({"tools": tools, "tool_choice": "required"}) is None


@pytest.mark.parametrize("tool", [{}, {"function": "f"}, {"function": None}, {"parameters": 5}])
def test_any_tool_can_be_made_strict(tool: Any) -> None:
    changed = with_strict_tools({"tools": [tool], "tool_choice": "required"})
    assert changed
    assert changed["tools"] == [tool | {"strict": True}]


def tag(schema: Any = SCHEMA, **more: Any) -> str:
    content = {"type": "json_schema", "json_schema": schema} | more
    call = {"type": "tag", "begin": "<call>", "content": content, "end": "</call>"}
    return json.dumps({"type": "structural_tag", "format": {"type": "or", "elements": [call]}})


@pytest.mark.parametrize("written", [{}, {"max_whitespace_cnt": None}])
def test_the_white_space_of_calls_is_limited(written: dict[str, Any]) -> None:
    assert json.loads(with_single_spaces(tag(**written))) == json.loads(tag(max_whitespace_cnt=1))


def test_the_arguments_of_calls_can_be_anything() -> None:
    assert json.loads(with_any_arguments(tag())) == json.loads(tag(True))


def test_a_schema_is_not_taken_for_a_part_of_the_tag() -> None:
    constant = {"const": {"type": "json_schema", "json_schema": {}}}
    changed = json.loads(with_single_spaces(tag(constant)))
    assert changed == json.loads(tag(constant, max_whitespace_cnt=1))


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[" * 100_000, '"text"', '{"type": "json_schema"}']
)
def test_other_texts_are_left_to_vllm(text: str) -> None:
    assert with_single_spaces(text) == with_any_arguments(text) == text
