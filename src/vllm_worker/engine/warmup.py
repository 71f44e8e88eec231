"""What the first job of each kind would pay for, paid before the first job comes.

Nothing here fails a start: a model without a chat template, say, has no chats to warm up.
"""

import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

from vllm.engine.async_llm_engine import AsyncLLMEngine
from vllm.renderers import TokenizeParams
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.output_processor import RequestOutputCollector

from vllm_worker.engine import asgi_client
from vllm_worker.engine.prompts import render_text
from vllm_worker.engine.protocol import Delta, RequestContext
from vllm_worker.jobs.inputs import NativeJob

_TOKENS = 2
_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "greeting", "schema": _SCHEMA}}
_TOOL = {"type": "function", "function": {"name": "greet", "parameters": _SCHEMA}}


async def send_requests(llm: AsyncLLMEngine) -> list[RequestOutputCollector]:
    """Send requests for which the engine's processes compile or load something.

    That takes its time there, while this process does something else; `answers` waits for it.
    """
    sent = []
    for number, structured in enumerate((None, StructuredOutputsParams(json=_SCHEMA))):
        params = SamplingParams(
            max_tokens=_TOKENS,
            logprobs=1,
            structured_outputs=structured,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        with suppress(Exception):
            lengths = TokenizeParams(max_total_tokens=llm.model_config.max_model_len)
            prompt = await render_text(llm, "Hello", lengths)
            sent.append(await llm.add_request(f"warm-up-{number}", prompt, params))
    return sent


async def answers(sent: list[RequestOutputCollector]) -> None:
    """Return when all are answered."""
    for output in sent:
        with suppress(Exception):
            await output.get()


async def ask_application(app: Any, model: str, tools: bool) -> None:
    """Send a chat of each kind: what parses, renders and answers it is made at its first use."""
    for chat in _chats(model, tools):
        body = json.dumps(chat).encode()
        headers = {"content-type": "application/json"}
        with suppress(Exception):
            answer = await asgi_client.request(app, "POST", "/v1/chat/completions", body, headers)
            async with aclosing(answer):
                await answer.read()


async def ask_native(
    generate: Callable[[NativeJob, RequestContext], AsyncGenerator[Delta]],
) -> None:
    """Answer a native job."""
    job = NativeJob(prompt="Hello", sampling_params={"max_tokens": 1})
    with suppress(Exception):
        async with aclosing(generate(job, RequestContext("warm-up"))) as answer:
            async for _ in answer:
                pass


def _chats(model: str, tools: bool) -> Iterator[dict[str, Any]]:
    chat = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": _TOKENS,
        "stream": True,
    }
    yield chat
    yield chat | {"stream": False, "response_format": _FORMAT, "logprobs": True}
    if tools:
        yield chat | {"tools": [_TOOL]}
        yield chat | {"tools": [_TOOL], "stream": False}
