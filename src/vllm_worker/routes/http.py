"""A job → the engine → an answer of HTTP, whose parts leave as they come.

Unlike openai.py and native.py it cuts nothing into chunks: nobody counts the POSTs.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from vllm_worker.configuration.settings import Settings
from vllm_worker.engine.asgi_client import Response
from vllm_worker.engine.protocol import Engine, RequestContext
from vllm_worker.errors import EngineFailure, JobError
from vllm_worker.jobs.inputs import NativeJob, OpenAIJob
from vllm_worker.routes import native, openai
from vllm_worker.routes.allowlist import OpenRoute
from vllm_worker.routes.openai_request import prepare
from vllm_worker.streaming.sse import whole_events

EVENTS = "text/event-stream"
JSON = "application/json"


@dataclass
class HTTPAnswer:
    """Status, media type and body. `failure` is set when a stream has ended with an error."""

    status: int
    kind: str
    body: AsyncIterator[bytes]
    failure: JobError | None = None


@asynccontextmanager
async def answer(
    job: OpenAIJob | NativeJob,
    route: OpenRoute | None,
    context: RequestContext,
    engine: Engine,
    settings: Settings,
) -> AsyncIterator[HTTPAnswer]:
    """The answer, for the length of the block. Raises JobError before there is one.

    `route` is None for a native job. What vLLM answers keeps its status and body.
    """
    if isinstance(job, NativeJob):
        outputs = native.answer(_by_token(job), context, engine, settings)
        async with aclosing(outputs):  # type: ignore[type-var]
            yield await _native(job, outputs)
        return
    assert route
    if route == openai.MODEL:
        yield HTTPAnswer(200, JSON, _once(await openai.one_model(job, context, engine)))
        return
    prepared = await prepare(job, route, context.request_id, settings)
    context = replace(context, decoding=prepared.decoding)
    response = await engine.call(prepared.request, context)
    try:
        kind = response.headers.get("content-type", "")
        if kind.startswith(EVENTS):
            found = HTTPAnswer(response.status, kind, _once(b""))
            found.body = _events(response, found)
            yield found
        elif prepared.decoding.from_samples and response.status < 400:
            yield HTTPAnswer(200, JSON, _once(await openai.whole_answer(job, prepared, response)))
        else:
            content = await response.read()
            if response.status in (404, 405) and content.startswith(b'{"detail"'):
                openai.check_framework(job, response)
            yield HTTPAnswer(response.status, kind, _once(content))
    finally:
        await response.aclose()


def _by_token(job: NativeJob) -> NativeJob:
    """With chunks as small as can be."""
    sizes = {"min_batch_size": 1, "max_batch_size": 1, "batch_size_growth_factor": 1.0}
    return job.model_copy(update=sizes)


async def _native(job: NativeJob, outputs: AsyncIterator[dict[str, Any]]) -> HTTPAnswer:
    """The first output is awaited: a job that is refused has a status of its own."""
    first = await anext(outputs)
    if not job.stream:
        return HTTPAnswer(200, JSON, _once(first))
    found = HTTPAnswer(200, EVENTS, _once(b""))
    found.body = _native_events(first, outputs, found)
    return found


async def _native_events(
    first: dict[str, Any], outputs: AsyncIterator[dict[str, Any]], found: HTTPAnswer
) -> AsyncGenerator[bytes]:
    try:
        yield _event(first)
        async for output in outputs:
            yield _event(output)
    except JobError as error:
        found.failure = error
        yield error.as_event().encode()
        return
    yield b"data: [DONE]\n\n"


async def _events(response: Response, found: HTTPAnswer) -> AsyncGenerator[bytes]:
    """vLLM's events; one more where the application breaks off."""
    try:
        async for event in whole_events(response.parts()):
            yield event.encode()
    except Exception as error:
        found.failure = error if isinstance(error, JobError) else _broken(error)
        yield found.failure.as_event().encode()


def _broken(error: Exception) -> JobError:
    failure = EngineFailure("The engine failed in the middle of this stream.")
    failure.__cause__ = error
    return failure


def _event(content: Any) -> bytes:
    return b"data: " + _json(content) + b"\n\n"


async def _once(content: Any) -> AsyncGenerator[bytes]:
    yield content if isinstance(content, bytes) else _json(content)


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
