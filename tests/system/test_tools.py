"""Tool calls and constrained answers, through the openai package."""

import copy
import json
from typing import Any, Literal

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.support.tool_calls import CHAT, QUESTION, WEATHER, the_call


class Verdict(BaseModel):
    colour: Literal["red", "green", "blue"]
    sure: bool


def test_the_model_calls_a_tool_and_uses_its_result(client: openai.OpenAI) -> None:
    (choice,) = client.chat.completions.create(**CHAT).choices
    assert choice.finish_reason == "tool_calls"
    assert the_call(choice.message) == {"city": "Paris"}
    result = {
        "role": "tool",
        "tool_call_id": choice.message.tool_calls[0].id,
        "content": '{"temperature": "19 degrees", "condition": "cloudy"}',
    }
    messages = [QUESTION, choice.message, result]
    (second,) = client.chat.completions.create(**CHAT | {"messages": messages}).choices
    assert second.finish_reason == "stop"
    assert "Paris" in second.message.content
    assert "19" in second.message.content


def test_a_streamed_call_comes_in_deltas_that_make_the_same_call(client: openai.OpenAI) -> None:
    name, arguments, chunks, reasons = "", "", 0, []
    for chunk in client.chat.completions.create(**CHAT, stream=True):
        (choice,) = chunk.choices
        reasons.append(choice.finish_reason)
        for delta in choice.delta.tool_calls or []:
            assert delta.index == 0
            name += delta.function.name or ""
            arguments += delta.function.arguments or ""
            chunks += bool(delta.function.arguments)
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Paris"})
    assert chunks > 1
    assert reasons[-1] == "tool_calls"


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "get_weather"}}]
)
def test_a_call_can_be_demanded(client: openai.OpenAI, choice: Any) -> None:
    # Without a word of `strict`. Asked for no city, this model would not stop making one up: hence
    # the list.
    tool: dict[str, Any] = copy.deepcopy(WEATHER)
    tool["function"]["parameters"]["properties"]["city"] = {"enum": ["Paris", "Rome"]}
    asked = {"tools": [tool], "messages": [{"role": "user", "content": "Hello!"}]}
    answer = client.chat.completions.create(**CHAT | asked, tool_choice=choice)
    assert the_call(answer.choices[0].message)["city"] in ("Paris", "Rome")


def test_the_arguments_of_a_demanded_call_follow_a_schema_that_the_model_has_not_seen(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    schema = Verdict.model_json_schema()
    asked: Any = [{"role": "user", "content": "Which colour is the sky?"}]
    function = {"name": "verdict", "parameters": schema, "strict": False}
    chat = {"model": "demo", "messages": asked, "temperature": 0, "tool_choice": "required"}
    tools: Any = [{"type": "function", "function": function}]
    (call,) = client.chat.completions.create(**chat, tools=tools).choices[0].message.tool_calls
    Verdict.model_validate_json(call.function.arguments)
    response = client.responses.create(
        model="demo", input=asked, temperature=0, tools=[{"type": "function"} | function],
        tool_choice={"type": "function", "name": "verdict"},
    )  # fmt: skip
    Verdict.model_validate_json(response.output[0].arguments)
    message = claude.messages.create(
        model="demo", max_tokens=100, messages=asked, extra_body={"temperature": 0},
        tools=[{"name": "verdict", "input_schema": schema}], tool_choice={"type": "any"},
    )  # fmt: skip
    Verdict.model_validate(message.content[0].input)


def test_a_call_can_be_ruled_out(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**CHAT, tool_choice="none", max_tokens=30)
    assert not answer.choices[0].message.tool_calls
    assert answer.choices[0].message.content


def test_a_chat_that_needs_no_tool(client: openai.OpenAI) -> None:
    chat = CHAT | {"messages": [{"role": "user", "content": "What is RunPod?"}]}
    (choice,) = client.chat.completions.create(**chat).choices
    assert choice.finish_reason == "stop"
    assert "RunPod" in choice.message.content


def test_parse_gives_an_object_of_the_class(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Which colour is the sky?"}]
    chat = {"model": "demo", "messages": messages, "temperature": 0}
    answer = client.chat.completions.parse(**chat, response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed, Verdict)
    for completions in (client.chat.completions, client.beta.chat.completions):
        with completions.stream(**chat, response_format=Verdict) as stream:
            streamed = stream.get_final_completion()
        assert streamed.choices[0].message.parsed == answer.choices[0].message.parsed
    response = client.responses.parse(
        model="demo", input="Which colour is the sky?", text_format=Verdict, temperature=0
    )
    assert isinstance(response.output_parsed, Verdict)


def test_a_json_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Say something."}],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=200,
    )
    (choice,) = answer.choices
    assert choice.message.content.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


@pytest.mark.parametrize(
    ("constraint", "allowed"),
    [
        ({"choice": ["left", "right"]}, ("left", "right")),
        ({"regex": "(yes|no){2}"}, ("yesyes", "yesno", "noyes", "nono")),
        ({"grammar": 'root ::= "up" | "down"'}, ("up", "down")),
    ],
)
def test_other_constraints(
    client: openai.OpenAI, constraint: dict[str, Any], allowed: tuple[str, ...]
) -> None:
    messages = [{"role": "user", "content": "Where?"}]
    chat = {"model": "demo", "messages": messages, "temperature": 0}
    body = {"structured_outputs": constraint}
    answer = client.chat.completions.create(**chat, extra_body=body)
    assert answer.choices[0].message.content in allowed
