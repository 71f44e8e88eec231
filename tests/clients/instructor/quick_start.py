"""Instructor, by tool calls (its default) and by JSON schema; both are structured output."""

import json
import os
from typing import Any, Literal

import instructor
import openai
from pydantic import BaseModel

QUESTION: Any = [{"role": "user", "content": "Which colour is the sky?"}]
GREEDY: dict[str, Any] = {"model": os.environ["MODEL"], "temperature": 0, "max_tokens": 160}


class Verdict(BaseModel):
    colour: Literal["red", "green", "blue"]
    sure: bool


by_tools = instructor.from_openai(openai.OpenAI())
by_schema = instructor.from_openai(openai.OpenAI(), mode=instructor.Mode.JSON_SCHEMA)
ask: dict[str, Any] = GREEDY | {"messages": QUESTION, "response_model": Verdict, "max_retries": 0}
parts = list(by_tools.create_partial(**ask))

print(
    json.dumps(
        {
            "structured": by_tools.create(**ask).model_dump(),
            "structured_by_schema": by_schema.create(**ask).model_dump(),
            "structured_in_parts": parts[-1].model_dump(),
        }
    )
)
