"""A job of each kind before the first one comes: what it would pay for, and proof that it works.

The jobs go the way of real ones. What the worker must refuse is asked for once as well, so that no
worker is ready whose jobs would all fail, or whose protections no longer hold.
"""

import json
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from typing import Any, Protocol

from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY
from vllm.renderers import TokenizeParams
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from vllm_worker.decoding.parameters import DecodingParams
from vllm_worker.decoding.structured_output_limits import MOST_STOPS
from vllm_worker.engine import asgi_client
from vllm_worker.engine.media_connector import NAME
from vllm_worker.engine.native_jobs import render_text
from vllm_worker.engine.protocol import Delta, RequestContext, VLLMRequest
from vllm_worker.errors import JobError, StartFailure
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.streaming.flow_control import FlowControl

_TOKENS = 2
_FETCH_S = 1
_STREAMED_TOKENS = 6
_HELD_TOKENS = 16
_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_BEYOND_XGRAMMAR = {"additionalProperties": {"const": 1}, "required": ["held"], "type": "object"}
"""A schema that xgrammar takes and ignores, and that guidance follows."""
_FORMAT = {"type": "json_schema", "json_schema": {"name": "greeting", "schema": _SCHEMA}}
_TOOL = {"type": "function", "function": {"name": "greet", "parameters": _SCHEMA}}
_CHAT = "/v1/chat/completions"
_CHAT_BODY = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": _TOKENS}
_SERVER_ERROR = 500
_LEAST_CONTEXT = 32
"""Tokens. Less is no use to anybody, but may be set."""


class Generating(Protocol):
    """The part of the engine that jobs use, and that is warmed up."""

    def generate(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Delta]: ...

    async def call(self, request: VLLMRequest, context: RequestContext) -> asgi_client.Response: ...


async def send_requests(llm: Any) -> list[Any]:
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
        with suppress(Exception):  # the jobs below say what is wrong
            lengths = TokenizeParams(max_total_tokens=llm.model_config.max_model_len)
            prompt = await render_text(llm, "Hello", lengths)
            sent.append(await llm.add_request(f"warm-up-{number}", prompt, params))
    return sent


async def answers(sent: list[Any]) -> None:
    """Return when all are answered."""
    for output in sent:
        with suppress(Exception):
            await output.get()


def takes_text(config: Any) -> bool:
    """Whether the jobs below suit the model with this configuration of vLLM's."""
    fits = config.max_model_len >= _LEAST_CONTEXT
    return bool(fits and not config.is_encoder_decoder and not config.skip_tokenizer_init)


async def embedding(engine: Generating, model: str) -> None:
    """Raises StartFailure when a text cannot be embedded."""
    body = {"model": model, "input": "Hello"}
    status, text = await _call(engine, body, RequestContext("warm-up"), "/v1/embeddings")
    if status >= _SERVER_ERROR:
        raise _failure("an embedding", f"status {status}, {text}")


async def native(engine: Generating) -> None:
    """Raises StartFailure when a native job fails."""
    deltas = await _generate(engine, {"max_tokens": _TOKENS, "ignore_eos": True})
    if sum(delta.tokens for delta in deltas) != _TOKENS:
        raise _failure("a native job", "it has fewer tokens than requested")


async def stream(engine: Generating) -> bool:
    """Whether the engine buffered the tokens of a native stream until they were wanted.

    Raises StartFailure when the stream fails.
    """
    flow = FlowControl(0, largest_chunk=_STREAMED_TOKENS, by_token=True)
    flow.request(_STREAMED_TOKENS)
    parameters = {"max_tokens": _STREAMED_TOKENS, "ignore_eos": True}
    deltas = await _generate(engine, parameters, stream=True, flow=flow)
    if sum(delta.tokens for delta in deltas) != _STREAMED_TOKENS:
        raise _failure("a native stream", "tokens are missing")
    return flow.connected and len(deltas) < _STREAMED_TOKENS


async def limits(engine: Generating) -> None:
    """Raises StartFailure when a request that is over a limit is not refused."""
    stops = [f"{number}" for number in range(MOST_STOPS + 1)]
    try:
        job = NativeJob(prompt="Hello", sampling_params={"stop": stops, "max_tokens": 1})
        await _read(engine.generate(job, RequestContext("warm-up")))
    except JobError as error:
        if "stop" in error.message and error.code < _SERVER_ERROR:
            return
    raise _failure("the limits on requests", f"{len(stops)} stop strings were not refused")


async def guidance(engine: Generating) -> bool:
    """Whether the core follows a schema by guidance that xgrammar would ignore."""
    held = {"json": _BEYOND_XGRAMMAR}
    parameters = {"max_tokens": _HELD_TOKENS, "temperature": 0, "structured_outputs": held}
    try:
        job = NativeJob(prompt="Hello", sampling_params=parameters)
        deltas = await _read(engine.generate(job, RequestContext("warm-up")))
    except JobError:
        return False
    return '"held"' in "".join(text for delta in deltas for text in delta.texts)


async def media() -> None:
    """Raises StartFailure when the connector that vLLM loads would fetch from this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        try:
            connector = MEDIA_CONNECTOR_REGISTRY.load(NAME)
            await connector.load_from_url_async(url, None, fetch_timeout=_FETCH_S)
        except ValueError:
            pass  # refused, or without an answer: whether anybody called shows below
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise _failure("the guard of media URLs", what) from error
        with suppress(BlockingIOError):
            connection, _ = server.accept()
            connection.close()
            raise _failure("the guard of media URLs", "an address of this machine was not refused")


async def chats(engine: Generating, model: str, tools: bool) -> str | None:
    """A chat of each kind: what parses, renders and answers it is made at its first use.

    Returns why the model takes no chats, such as for want of a template. Raises StartFailure when
    they fail for another reason.
    """
    for body in _chats(model, tools):
        context = RequestContext("warm-up", flow=FlowControl(0))
        status, text = await _call(engine, body, context)
        if status >= _SERVER_ERROR:
            raise _failure("a chat", f"status {status}, {text}")
        if status != 200:
            return text
    return None


async def beam_search(engine: Generating, model: str) -> None:
    """A beam search on OpenAI's routes."""
    decoding = DecodingParams(n=2, use_beam_search=True)
    body = {"model": model, "prompt": "Hello", "max_tokens": 1, "n": 2, "use_beam_search": True}
    await _call(engine, body, RequestContext("warm-up", decoding=decoding), "/v1/completions")


async def _generate(
    engine: Generating,
    parameters: dict[str, Any],
    stream: bool = False,
    flow: FlowControl | None = None,
) -> list[Delta]:
    job = NativeJob(prompt="Hello", sampling_params=parameters, stream=stream)
    try:
        return await _read(engine.generate(job, RequestContext("warm-up", flow=flow)))
    except JobError as error:
        cause = error.__cause__
        reason = f"{type(cause).__name__}: {cause}" if cause else error.message
        raise _failure("a native job", reason) from error


async def _read(deltas: AsyncGenerator[Delta]) -> list[Delta]:
    async with aclosing(deltas):
        return [delta async for delta in deltas]


async def _call(
    engine: Generating, body: dict[str, Any], context: RequestContext, route: str = _CHAT
) -> tuple[int, str]:
    headers = {"content-type": "application/json"}
    request = VLLMRequest("POST", route, json.dumps(body).encode(), headers)
    try:
        answer = await engine.call(request, context)
        async with aclosing(answer):
            text = (await answer.read()).decode()
    except Exception as error:
        return _SERVER_ERROR, f"{type(error).__name__}: {error}"
    if 'data: {"error"' in text:
        return _SERVER_ERROR, text
    return answer.status, text


def _failure(what: str, why: str) -> StartFailure:
    return StartFailure(f"the worker is not ready: {what} failed at the warm-up: {why}")


def _chats(model: str, tools: bool) -> Iterator[dict[str, Any]]:
    chat = _CHAT_BODY | {"model": model, "stream": True}
    yield chat
    yield chat | {"stream": False, "response_format": _FORMAT, "logprobs": True}
    if tools:
        yield chat | {"tools": [_TOOL]}
        yield chat | {"tools": [_TOOL], "stream": False}
