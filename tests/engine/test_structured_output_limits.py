"""What an output has to follow may not take the engine minutes, on any route."""

import asyncio
from typing import Any

import pytest

from tests.support.asking import CHAT, COMPLETIONS, NATIVE, Refused, ask, run
from vllm_worker.engine.vllm_engine import VLLMEngine

ENDLESS = "a?" * 2000
MESSAGES = [{"role": "user", "content": "Hi"}]


def tool(pattern: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}}
    function = {"name": "f", "parameters": parameters, "strict": True}
    return {"type": "function", "function": function}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def arrays(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize("form", [NATIVE, CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        ({"regex": ENDLESS}, "STRUCTURED_OUTPUT_MAX_REPEATS"),
        ({"grammar": f'root ::= {"x " * 1000}\nx ::= "" | "a"'}, "STRUCTURED_OUTPUT_MAX_REPEATS"),
        ({"json": {"type": "string", "pattern": ENDLESS}}, "STRUCTURED_OUTPUT_MAX_REPEATS"),
        ({"json": {"enum": [str(n) for n in range(100_000)]}}, "STRUCTURED_OUTPUT_MAX_BYTES"),
        ({"choice": [str(n) for n in range(100_000)]}, "STRUCTURED_OUTPUT_MAX_BYTES"),
        ({"json": deep(100)}, "nested too deeply"),
        ({"json": {"type": "array", "minItems": 10**9}}, "STRUCTURED_OUTPUT_MAX_REPEATS"),
        ({"json": {"properties": {"a": {"not": {}}}}}, 'has "not" at #/properties/a'),
    ],
)
async def test_what_would_explode_is_refused(
    engine: VLLMEngine, form: str, constraint: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        await ask(engine, form, structured_outputs=constraint)
    assert refused.value.error["code"] == 400
    assert says in refused.value.error["message"]


@pytest.mark.parametrize(
    "job",
    [
        {
            "openai_route": CHAT,
            "openai_input": {
                "model": "demo", "messages": MESSAGES, "tools": [tool("a?" * 300)],
                "tool_choice": "required",
            },
        },
        {
            "openai_route": CHAT,
            "openai_input": {
                "model": "demo", "messages": MESSAGES,
                "response_format": {"type": "json_schema", "json_schema": {
                    "name": "x", "schema": {"type": "string", "pattern": ENDLESS}}},
            },
        },
        {
            "openai_route": "/v1/responses",
            "openai_input": {
                "model": "demo", "input": "Hi",
                "text": {"format": {"type": "json_schema", "name": "x", "schema": {
                    "type": "string", "pattern": ENDLESS}}},
            },
        },
    ],
    ids=["strict tool", "response_format", "responses"],
)  # fmt: skip
async def test_it_is_refused_wherever_it_comes_from(engine: VLLMEngine, job: Any) -> None:
    with pytest.raises(Refused) as refused:
        await run(engine, job)
    assert refused.value.error["code"] == 400
    assert "STRUCTURED_OUTPUT_MAX_REPEATS" in refused.value.error["message"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"x": {"type": "array", "minItems": 10**9}}},
        {"type": "object", "properties": {"x": arrays(80)}},
        {"type": "object", "properties": {"x": {"not": {}}}},
        {"type": "object", "properties": {"x": {"type": "string", "pattern": "^a\\b.c$"}}},
        {"type": "object", "properties": {"x": {"$ref": "#/$defs/nowhere"}}},
        {"type": "object", "properties": {"x": False}},
    ],
    ids=["repeats", "depth", "ignored", "pattern", "reference", "false"],
)
async def test_a_tool_that_is_not_said_to_be_strict_may_have_any_schema(
    engine: VLLMEngine, schema: Any
) -> None:
    """Arguments of a demanded call follow it where they can."""
    function = {"name": "f", "parameters": schema}
    body = {
        "model": "demo", "messages": MESSAGES, "tool_choice": "required", "max_tokens": 20,
        "tools": [{"type": "function", "function": function}],
    }  # fmt: skip
    (answer,) = await run(engine, {"openai_route": CHAT, "openai_input": body})
    assert answer["usage"]["completion_tokens"] > 0
    body["tools"] = [{"type": "function", "function": function | {"strict": True}}]
    with pytest.raises(Refused) as refused:
        await run(engine, {"openai_route": CHAT, "openai_input": body})
    assert refused.value.error["code"] == 400


async def test_other_jobs_go_on_while_the_largest_that_is_taken_is_compiled(
    engine: VLLMEngine,
) -> None:
    largest = {"properties": {f"p{n}": {"type": "string"} for n in range(4500)}, "type": "object"}
    slow = asyncio.create_task(
        ask(engine, NATIVE, structured_outputs={"json": largest}, max_tokens=5)
    )
    answered = 0
    while not slow.done():
        await ask(engine, NATIVE, max_tokens=2)
        answered += 1
    assert (await slow).tokens > 0
    assert answered >= 3


async def test_a_job_is_not_ended_with_another_of_the_same_request_id(engine: VLLMEngine) -> None:
    body = {"model": "demo", "messages": MESSAGES, "max_tokens": 200, "ignore_eos": True}
    job = {"openai_route": CHAT, "openai_input": body, "openai_headers": {"X-Request-Id": "mine"}}
    first, second = (asyncio.create_task(run(engine, job)) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    (answer,) = await second
    assert answer["usage"]["completion_tokens"] == 200


async def test_choices_that_go_on_when_one_cannot_are_ended(engine: VLLMEngine) -> None:
    """What begins with one half of the alphabet has no end, and nothing that could follow it."""
    dead_end = "root ::= [a-m]{900} | [n-z] dead\ndead ::= dead"
    with pytest.raises(Refused) as refused:
        await ask(
            engine, NATIVE, structured_outputs={"grammar": dead_end}, n=16, max_tokens=900, seed=1,
            temperature=2,
        )  # fmt: skip
    assert "cannot be satisfied" in refused.value.error["message"]
    await asyncio.sleep(0.1)
    assert engine.unfinished_requests == 0
