"""What the first job of each kind would pay for, paid before the first job comes.

Nothing here fails a start: a model without a chat template, say, has no chats to warm up.
"""

import json
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import Any

from vllm.engine.async_llm_engine import AsyncLLMEngine
from vllm.renderers import TokenizeParams
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.output_processor import RequestOutputCollector

from vllm_worker.engine import asgi_client

_TOKENS = 2
_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "greeting", "schema": _SCHEMA}}
_TOOL = {"type": "function", "function": {"name": "greet", "parameters": _SCHEMA}}


async def send_requests(llm: AsyncLLMEngine) -> list[RequestOutputCollector]:
    """Requests whose first one has the engine's processes compile or load something.

    That takes its time there, while this process does something else; `answers` waits for it.
    """
    sent = []
    for number, constraint in enumerate((None, StructuredOutputsParams(json=_SCHEMA))):
        params = SamplingParams(
            max_tokens=_TOKENS,
            logprobs=1,
            structured_outputs=constraint,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        with suppress(Exception):
            lengths = TokenizeParams(max_total_tokens=llm.model_config.max_model_len)
            parsed = parse_model_prompt(llm.model_config, "Hello")
            (prompt,) = await llm.renderer.render_cmpl_async([parsed], lengths)
            sent.append(await llm.add_request(f"warm-up-{number}", prompt, params))
    return sent


async def answers(sent: list[RequestOutputCollector]) -> None:
    """Returns when all are answered."""
    for output in sent:
        with suppress(Exception):
            await output.get()


async def ask_application(app: Any, model: str, tools: bool) -> None:
    """A chat of each kind: what parses, renders and answers it is made when it is first needed."""
    for chat in _chats(model, tools):
        body = json.dumps(chat).encode()
        headers = {"content-type": "application/json"}
        with suppress(Exception):
            answer = await asgi_client.request(app, "POST", "/v1/chat/completions", body, headers)
            async with aclosing(answer):
                await answer.read()


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
