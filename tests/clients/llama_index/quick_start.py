"""LlamaIndex's OpenAILike, and its agent with a tool."""

import asyncio
import json
import os
from typing import Any, Literal

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

QUESTION = [ChatMessage(role="user", content="What is RunPod?")]
called: list[Any] = []


def get_weather(city: str) -> str:
    """Get the current weather in a given location"""
    called.extend(["get_weather", {"city": city}])
    return '{"temperature": "19 degrees", "condition": "cloudy"}'


class Verdict(BaseModel):
    """The colour of something."""

    colour: Literal["red", "green", "blue"]
    sure: bool


model = OpenAILike(
    model=os.environ["MODEL"],
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
    context_window=2048,
    max_tokens=160,
    temperature=0,
    is_chat_model=True,
    is_function_calling_model=True,
)
answer = model.chat(QUESTION).message.content
streamed = [chunk.delta or "" for chunk in model.stream_chat(QUESTION)]


async def told() -> str:
    agent = FunctionAgent(tools=[get_weather], llm=model)
    return str(await agent.run("What is the weather in Paris?"))


judge = model.as_structured_llm(Verdict)
verdict = judge.chat([ChatMessage(role="user", content="Which colour is the sky?")]).raw

print(
    json.dumps(
        {
            "answer": answer,
            "streamed": streamed,
            "told": asyncio.run(told()),
            "called": called,
            "structured": verdict.model_dump(),
        }
    )
)
