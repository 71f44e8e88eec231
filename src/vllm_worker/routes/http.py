"""A job → the engine → an answer of HTTP, whose parts leave as they come.

Unlike openai.py and native.py it cuts nothing into chunks: nobody counts the POSTs.
"""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect

from vllm_worker.configuration.settings import Settings
from vllm_worker.engine.asgi_client import Response
from vllm_worker.engine.protocol import Engine, RequestContext
from vllm_worker.errors import EngineFailure, JobError, VLLMError
from vllm_worker.jobs.inputs import NativeJob, OpenAIJob
from vllm_worker.routes import native, openai
from vllm_worker.routes.allowlist import OpenRoute
from vllm_worker.routes.openai_request import prepare
from vllm_worker.streaming.shortcut import Shortcut
from vllm_worker.streaming.sse import Event
from vllm_worker.web.anthropic import is_anthropics

EVENTS = "text/event-stream"
_JSON = {"content-type": "application/json"}
_PART_BYTES = 64 * 1024
_OF_THE_CONNECTION = {"connection", "content-length", "date", "server", "transfer-encoding"}

Explain = Callable[[JobError], bytes]
"""Takes the error with which a stream ends, and makes the event that tells the client."""

Sink = Callable[[bytes], Awaitable[None]]
"""Takes a part of a body: a whole event, or some bytes of what is no stream."""


@dataclass
class HTTPAnswer:
    """Status and headers (names in lower case); `write` sends the body to a sink."""

    status: int
    headers: Mapping[str, str]
    write: Callable[[Sink], Awaitable[None]] = field(repr=False)


@asynccontextmanager
async def answer(
    job: OpenAIJob | NativeJob,
    route: OpenRoute | None,
    context: RequestContext,
    engine: Engine,
    settings: Settings,
    explain: Explain,
) -> AsyncIterator[HTTPAnswer]:
    """The answer, for the length of the block. Raises JobError before there is one.

    `route` is None for a native job. What vLLM answers keeps its status and body, but for errors
    of the server.
    """
    if isinstance(job, NativeJob):
        outputs = native.answer(_by_token(job), context, engine, settings)
        async with aclosing(outputs):  # type: ignore[type-var]
            yield await _native(job, outputs, explain)
        return
    assert route
    if route == openai.MODEL:
        yield _whole(200, await openai.one_model(job, context, engine))
        return
    prepared = await prepare(job, route, context.request_id, settings)
    shortcut = Shortcut() if prepared.can_buffer else None
    context = replace(
        context,
        decoding=prepared.decoding,
        shortcut=shortcut,
        strict_if_possible=prepared.strict_if_possible,
    )
    response = await engine.call(prepared.request, context)
    try:
        if response.headers.get("content-type", "").startswith(EVENTS):
            write = partial(_write_events, response, explain)
            yield HTTPAnswer(response.status, _headers(response), write)
        elif prepared.decoding.from_samples and response.status < 400:
            yield _whole(200, await openai.whole_answer(job, prepared, response))
        else:
            yield await _vllms(job, response)
    finally:
        await response.aclose()


async def run_sync(
    job: NativeJob, context: RequestContext, engine: Engine, settings: Settings
) -> HTTPAnswer:
    """All outputs of a native job, in the form in which RunPod shows a job that has ended. Raises
    JobError.
    """
    begun = time.monotonic()
    outputs = [output async for output in native.answer(job, context, engine, settings)]
    shown = {"id": context.request_id, "status": "COMPLETED", "delayTime": 0}
    took_ms = round((time.monotonic() - begun) * 1000)
    return _whole(200, shown | {"executionTime": took_ms, "output": outputs})


async def _vllms(job: OpenAIJob, response: Response) -> HTTPAnswer:
    content = await response.read()
    if response.status in (404, 405) and content.startswith(b'{"detail"'):
        openai.check_framework(job, response)
    # vLLM's errors on Anthropic's routes have the types of its others.
    if response.status >= (400 if is_anthropics(job.path) else 500):
        raise VLLMError(response.status, _read(content))
    return _whole(response.status, content, _headers(response))


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return {}


def _headers(response: Response) -> dict[str, str]:
    return {k: v for k, v in response.headers.items() if k not in _OF_THE_CONNECTION}


def _by_token(job: NativeJob) -> NativeJob:
    """With chunks as small as can be."""
    sizes = {"min_batch_size": 1, "max_batch_size": 1, "batch_size_growth_factor": 1.0}
    return job.model_copy(update=sizes)


async def _native(
    job: NativeJob, outputs: AsyncIterator[dict[str, Any]], explain: Explain
) -> HTTPAnswer:
    """The first output is awaited: a job that is refused has a status of its own."""
    first = await anext(outputs)
    if not job.stream:
        return _whole(200, first)
    write = partial(_write_outputs, first, outputs, explain)
    return HTTPAnswer(200, {"content-type": EVENTS}, write)


async def _write_outputs(
    first: dict[str, Any], outputs: AsyncIterator[dict[str, Any]], explain: Explain, sink: Sink
) -> None:
    await sink(_event(first))
    try:
        async for output in outputs:
            await sink(_event(output))
    except JobError as error:
        await sink(explain(error))
        return
    await sink(b"data: [DONE]\n\n")


async def _write_events(response: Response, explain: Explain, sink: Sink) -> None:
    """vLLM's events, each of which it sends as one part, and one more where it breaks off."""

    async def pass_on(part: bytes) -> None:
        if b"error" in part and (failure := openai.failure_in(Event(part.decode()))):
            explain(failure)  # vLLM has written the event
        await sink(part)

    try:
        await response.send_to(pass_on)
    except ClientDisconnect:
        raise
    except Exception as error:
        await sink(explain(error if isinstance(error, JobError) else _broken(error)))


def _broken(error: Exception) -> JobError:
    failure = EngineFailure("The engine failed in the middle of this stream.")
    failure.__cause__ = error.__cause__ or error
    return failure


def _event(content: Any) -> bytes:
    return b"data: " + _json(content) + b"\n\n"


def _whole(status: int, content: Any, headers: Mapping[str, str] = _JSON) -> HTTPAnswer:
    """An answer that is no stream, in parts that a slow client can take in time."""
    body = content if isinstance(content, bytes) else _json(content)

    async def write(sink: Sink) -> None:
        for start in range(0, len(body), _PART_BYTES):
            await sink(body[start : start + _PART_BYTES])

    return HTTPAnswer(status, {**headers, "content-length": str(len(body))}, write)


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
