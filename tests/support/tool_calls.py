"""A chat in which a tool should be called."""

import json
from typing import Any

from openai.types.chat import ChatCompletionMessage

QUESTION = {"role": "user", "content": "What is the weather in Paris?"}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


CHAT = {"model": "demo", "temperature": 0, "tools": [WEATHER], "messages": [QUESTION]}


def the_call(message: ChatCompletionMessage) -> dict[str, Any]:
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    return json.loads(call.function.arguments)
