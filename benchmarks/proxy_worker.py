"""The design that workers in use have: each job goes on to `vllm serve` over HTTP.

A minimal one, on the real SDK: every part of the server's stream is posted as it comes.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import runpod

from benchmarks.lag import watch

SERVER = os.environ["BENCHMARK_SERVER"]
_session: list[aiohttp.ClientSession] = []
_watching: list[asyncio.Task[None]] = []


async def handle(job: dict[str, Any]) -> AsyncIterator[Any]:
    """A chat by OpenAI's route, or a native job as a completion."""
    if not _session:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        _session.append(aiohttp.ClientSession(connector=connector, timeout=timeout))
        _watching.append(asyncio.create_task(watch()))
    given = job["input"]
    native = "openai_route" not in given
    route = "/v1/completions" if native else given["openai_route"]
    body = given.get("openai_input") or {
        "model": given["model"],
        "prompt": given["prompt"],
        "stream": given["stream"],
        **given["sampling_params"],
    }
    async with _session[0].post(f"{SERVER}{route}", json=body) as response:
        if not body.get("stream"):
            yield await response.json()
            return
        async for chunk in response.content.iter_any():
            yield _native(chunk) if native else chunk.decode()


def _native(chunk: bytes) -> dict[str, Any]:
    events = (event.removeprefix(b"data: ") for event in chunk.split(b"\n\n") if event)
    texts = [json.loads(e)["choices"][0]["text"] for e in events if e != b"[DONE]"]
    return {"choices": [{"tokens": texts}]}


if __name__ == "__main__":
    options = {"handler": handle, "return_aggregate_stream": True}
    runpod.serverless.start(options | {"concurrency_modifier": lambda _: 300})
