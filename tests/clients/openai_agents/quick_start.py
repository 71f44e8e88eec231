"""OpenAI's Agents SDK, over Responses (its default) and over chat completions."""

import asyncio
import json
import os
from typing import Any, Literal

import agents
from pydantic import BaseModel

QUESTION = "What is RunPod?"
settings = agents.ModelSettings(temperature=0, max_tokens=160)
called: list[Any] = []


class Verdict(BaseModel):
    colour: Literal["red", "green", "blue"]
    sure: bool


@agents.function_tool
def get_weather(city: str) -> str:
    """Get the current weather in a given location"""
    called.extend(["get_weather", {"city": city}])
    return '{"temperature": "19 degrees", "condition": "cloudy"}'


def agent(**options: Any) -> agents.Agent[Any]:
    return agents.Agent(
        name="Assistant", model=os.environ["MODEL"], model_settings=settings, **options
    )


async def results(api: Literal["responses", "chat_completions"]) -> dict[str, Any]:
    agents.set_default_openai_api(api)
    called.clear()
    answer = await agents.Runner.run(agent(), QUESTION)
    run = agents.Runner.run_streamed(agent(), QUESTION)
    streamed = [
        event.data.delta
        async for event in run.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    told = await agents.Runner.run(agent(tools=[get_weather]), "What is the weather in Paris?")
    judged = await agents.Runner.run(agent(output_type=Verdict), "Which colour is the sky?")
    return {
        "answer": answer.final_output,
        "streamed": streamed,
        "called": list(called),
        "told": told.final_output,
        "structured": judged.final_output.model_dump(),
    }


async def main() -> dict[str, Any]:
    return await results("responses") | {"by_chat": await results("chat_completions")}


agents.set_tracing_disabled(True)  # traces go to OpenAI
print(json.dumps(asyncio.run(main())))
