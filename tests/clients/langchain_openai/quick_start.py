"""LangChain's ChatOpenAI, and an agent with a tool."""

import json
import os
from typing import Any, Literal

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

QUESTION = "What is RunPod?"
called: list[Any] = []


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a given location"""
    called.extend(["get_weather", {"city": city}])
    return '{"temperature": "19 degrees", "condition": "cloudy"}'


class Verdict(BaseModel):
    colour: Literal["red", "green", "blue"]
    sure: bool


model = ChatOpenAI(model=os.environ["MODEL"], temperature=0, max_tokens=160)
answer = model.invoke(QUESTION).content
streamed = [chunk.content for chunk in model.stream(QUESTION)]
agent = create_agent(model, tools=[get_weather])
conversation = agent.invoke({"messages": [("user", "What is the weather in Paris?")]})
forced = model.bind_tools([get_weather], tool_choice="any").invoke("What is the weather in Rome?")
verdict = model.with_structured_output(Verdict).invoke("Which colour is the sky?")

print(
    json.dumps(
        {
            "answer": answer,
            "streamed": streamed,
            "called": called,
            "told": conversation["messages"][-1].content,
            "forced": [forced.tool_calls[0]["name"], forced.tool_calls[0]["args"]],
            "structured": verdict.model_dump(),
        }
    )
)
