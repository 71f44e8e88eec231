"""An OpenAIJob → vLLM's application → the job's outputs."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec

from vllm_worker.configuration.settings import Settings
from vllm_worker.engine.asgi_client import Response
from vllm_worker.engine.protocol import Engine, RequestContext, VLLMRequest
from vllm_worker.errors import (
    BadRequest,
    EngineFailure,
    JobError,
    MethodNotAllowed,
    NoSuchModel,
    NoSuchRoute,
    VLLMError,
)
from vllm_worker.jobs.inputs import OpenAIJob
from vllm_worker.routes.allowlist import OpenRoute
from vllm_worker.routes.openai_request import Prepared, prepare, with_best
from vllm_worker.streaming.chunker import in_chunks
from vllm_worker.streaming.flow_control import FlowControl
from vllm_worker.streaming.sse import Event, count_tokens, whole_events
from vllm_worker.web.anthropic import error_event

MODEL = "/v1/models/{model}"
_MODELS = "/v1/models"


async def answer(
    job: OpenAIJob, route: OpenRoute, context: RequestContext, engine: Engine, settings: Settings
) -> AsyncIterator[Any]:
    """The outputs of the job: one JSON value or, for an event stream, chunks of it.

    A chunk is text made of whole events, or with RAW_OPENAI_OUTPUT=0 a list of their data.
    Raises BadRequest, and VLLMError for an error status or after an error event, which the client
    gets first.
    """
    if route == MODEL:
        yield await one_model(job, context, engine)
        return
    prepared = await prepare(job, route, context.request_id, settings)
    flow = FlowControl(settings.max_delay, settings.schedule.maximum)
    context = replace(
        context,
        decoding=prepared.decoding,
        flow=flow if prepared.can_buffer else None,
        strict_if_possible=prepared.strict_if_possible,
    )
    response = await engine.call(prepared.request, context)
    try:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            events = _events(response, flow, job.path)
            async for chunk in in_chunks(events, settings.schedule, flow):
                yield _raw(chunk) if settings.raw_openai_output else _parsed(chunk)
        else:
            yield await whole_answer(job, prepared, response)
    finally:
        await response.aclose()


async def one_model(job: OpenAIJob, context: RequestContext, engine: Engine) -> Any:
    """One of the models that vLLM lists, which has no route for one. Raises JobError."""
    if job.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(job.route, job.method, "GET")
    response = await engine.call(VLLMRequest("GET", _MODELS, b"", {}), context)
    try:
        models = _body(job, response, await response.read())["data"]
    finally:
        await response.aclose()
    name = job.path.removeprefix(f"{_MODELS}/")
    if found := next((model for model in models if model["id"] == name), None):
        return found
    raise NoSuchModel(name)


async def whole_answer(job: OpenAIJob, prepared: Prepared, response: Response) -> Any:
    body = _body(job, response, await response.read())
    if prepared.decoding.from_samples:
        return with_best(body, job, prepared.decoding)
    return body


def _body(job: OpenAIJob, response: Response, content: bytes) -> Any:
    """The body as JSON, or as text where it is none. Raises JobError for an error."""
    kind = response.headers.get("content-type", "bytes")
    try:
        body: Any = content.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{job.route} answers with {kind}; a job can only carry text.") from None
    if kind.startswith("application/json"):
        body = msgspec.json.decode(content)  # large with log-probabilities, and the loop waits
    if isinstance(body, dict) and body.keys() == {"detail"}:
        check_framework(job, response)
    if response.status >= 400:
        raise VLLMError(response.status, body)
    if isinstance(body, dict) and body.get("error"):
        # The SDK fails a job whose output has an "error", and so would write it as a Python repr.
        raise VLLMError(500, body)
    return body


def check_framework(job: OpenAIJob, response: Response) -> None:
    """Raises JobError for an answer of the framework's, not vLLM's."""
    if response.status == 404:
        raise NoSuchRoute(f"{job.route} is not a route of the loaded model.", "route")
    if response.status == 405:
        guessed = job.given_method is None and job.method == "GET"
        hint = " An empty body makes a job a GET." if guessed else ""
        raise MethodNotAllowed(job.route, job.method, response.headers.get("allow", ""), hint)


async def _events(response: Response, flow: FlowControl, path: str) -> AsyncGenerator[Event]:
    """The events of the stream. Raises the error that an event carries after the stream's end."""
    failure: JobError | None = None
    counted = 0
    try:
        async for text in whole_events(response.parts()):
            tokens = count_tokens(text)
            if tokens and flow.connected:
                tokens, counted = flow.flushed_tokens - counted, flow.flushed_tokens
            event = Event(text, tokens)
            failure = failure or failure_in(event)
            yield event
    except Exception as error:
        # The application broke off in mid-stream: say so in the stream as well.
        if isinstance(error, JobError) and error.code < 500:
            failure = error  # Responses are only checked when the stream has begun
        else:
            failure = EngineFailure("The engine failed in the middle of this stream.")
            failure.__cause__ = error.__cause__ or error
        yield Event(error_event(path, failure.code, failure.as_object()))
    finally:
        await response.aclose()
    if failure:
        raise failure


def failure_in(event: Event) -> JobError | None:
    if not event.is_error:
        return None
    body = json.loads(event.data)
    code = body["error"].get("code") if isinstance(body.get("error"), dict) else None
    return VLLMError(code if isinstance(code, int) else 500, body)


def _raw(chunk: list[Event]) -> str:
    return "".join(event.text for event in chunk)


def _parsed(chunk: list[Event]) -> list[Any]:
    return [
        msgspec.json.decode(event.data) for event in chunk if event.data and event.data != "[DONE]"
    ]
