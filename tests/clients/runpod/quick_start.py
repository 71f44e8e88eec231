"""RunPod's SDK, sync and asyncio: the operations of its own guide on native and OpenAI jobs."""

import asyncio
import json
import os
from typing import Any

import aiohttp
import runpod

runpod.api_key = os.environ["RUNPOD_API_KEY"]
runpod.endpoint_url_base = os.environ["RUNPOD_ENDPOINT_BASE_URL"]
ENDPOINT = os.environ["ENDPOINT_ID"]
QUESTION = [{"role": "user", "content": "What is RunPod?"}]
NATIVE = {"messages": QUESTION, "sampling_params": {"temperature": 0, "max_tokens": 160}}
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
VERDICT = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
}


def chat(question: str, **options: Any) -> Any:
    """The message that a chat completion as a job brings."""
    body = {"model": os.environ["MODEL"], "temperature": 0, "max_tokens": 160} | options
    body["messages"] = [{"role": "user", "content": question}]
    (output,) = endpoint.run_sync({"openai_route": "/v1/chat/completions", "openai_input": body})
    return output["choices"][0]["message"]


def text(outputs: Any) -> str:
    return "".join(output["choices"][0]["tokens"][0] for output in outputs)


endpoint = runpod.Endpoint(ENDPOINT)
answer = text(endpoint.run_sync(NATIVE))
job = endpoint.run(NATIVE | {"stream": True})
streamed = ["".join(chunk["choices"][0]["tokens"]) for chunk in job.stream()]


async def by_asyncio() -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        endpoint = runpod.AsyncioEndpoint(ENDPOINT, session)
        job = await endpoint.run(NATIVE)
        answer = text(await job.output(timeout=60))
        job = await endpoint.run(NATIVE | {"stream": True})
        streamed = ["".join(chunk["choices"][0]["tokens"]) async for chunk in job.stream()]
        return {"answer": answer, "streamed": streamed}


asked = chat("What is the weather in Paris?", tools=[TOOL])["tool_calls"][0]["function"]
schema = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT}}
judged = chat("Which colour is the sky?", response_format=schema)["content"]

print(
    json.dumps(
        {
            "answer": answer,
            "streamed": streamed,
            "called": [asked["name"], json.loads(asked["arguments"])],
            "structured": json.loads(judged),
            "by_asyncio": asyncio.run(by_asyncio()),
        }
    )
)
