"""Pydantic AI's agent: text, a stream, a tool, and both of its structured outputs."""

import asyncio
import json
import os
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.settings import ModelSettings

QUESTION = "What is RunPod?"
SKY = "Which colour is the sky?"
called: list[Any] = []


class Verdict(BaseModel):
    colour: Literal["red", "green", "blue"]
    sure: bool


model = OpenAIChatModel(os.environ["MODEL"], settings=ModelSettings(temperature=0, max_tokens=160))
assistant = Agent(model)
forecaster = Agent(model)


@forecaster.tool_plain
def get_weather(city: str) -> str:
    """Get the current weather in a given location"""
    called.extend(["get_weather", {"city": city}])
    return '{"temperature": "19 degrees", "condition": "cloudy"}'


async def stream() -> list[str]:
    async with assistant.run_stream(QUESTION) as run:
        return [part async for part in run.stream_text(delta=True, debounce_by=None)]


print(
    json.dumps(
        {
            "answer": assistant.run_sync(QUESTION).output,
            "streamed": asyncio.run(stream()),
            "told": forecaster.run_sync("What is the weather in Paris?").output,
            "called": called,
            "structured": Agent(model, output_type=Verdict).run_sync(SKY).output.model_dump(),
            "structured_by_schema": Agent(model, output_type=NativeOutput(Verdict))
            .run_sync(SKY)
            .output.model_dump(),
        }
    )
)
