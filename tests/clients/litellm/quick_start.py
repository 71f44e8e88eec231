"""LiteLLM as its own guide shows it for a server that speaks OpenAI's protocol."""

import json
import os
from typing import Any, Literal

import litellm
from pydantic import BaseModel

MODEL = f"openai/{os.environ['MODEL']}"
GREEDY: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 160}
QUESTION = [{"role": "user", "content": "What is RunPod?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}


class Verdict(BaseModel):
    colour: Literal["red", "green", "blue"]
    sure: bool


answer = litellm.completion(messages=QUESTION, **GREEDY).choices[0].message.content

chunks = litellm.completion(messages=QUESTION, stream=True, **GREEDY)
streamed = [chunk.choices[0].delta.content or "" for chunk in chunks]

weather: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
asked = litellm.completion(messages=weather, tools=[TOOL], **GREEDY).choices[0].message
call = asked.tool_calls[0]
result = {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": "19 degrees"}'}
told = litellm.completion(messages=[*weather, asked, result], tools=[TOOL], **GREEDY)

sky = [{"role": "user", "content": "Which colour is the sky?"}]
judged = litellm.completion(messages=sky, response_format=Verdict, **GREEDY)

print(
    json.dumps(
        {
            "answer": answer,
            "streamed": streamed,
            "called": [call.function.name, json.loads(call.function.arguments)],
            "told": told.choices[0].message.content,
            "structured": json.loads(judged.choices[0].message.content),
        }
    )
)
