"""An OpenAIJob → vLLM's application → the job's outputs."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from vllm_worker.configuration.settings import Settings
from vllm_worker.engine.asgi_client import Response
from vllm_worker.engine.protocol import Engine
from vllm_worker.errors import (
    BadRequest,
    EngineFailure,
    JobError,
    MethodNotAllowed,
    NoSuchRoute,
    VLLMError,
)
from vllm_worker.jobs.inputs import OpenAIJob
from vllm_worker.routes.allowlist import check_path
from vllm_worker.routes.openai_request import vllm_request, with_best
from vllm_worker.streaming.chunker import in_pieces
from vllm_worker.streaming.flow_control import Pace


@dataclass(frozen=True, slots=True)
class Event:
    """One whole server-sent event, with the blank line that ends it."""

    text: str
    tokens: int = 1

    def split(self, tokens: int) -> tuple["Event", None]:
        return self, None

    @property
    def data(self) -> str:
        """The `data` field; vLLM's events have one line of it."""
        return self.text.partition("data: ")[2].rstrip()

    @property
    def error(self) -> JobError | None:
        """What this event tells the client to fail with, or None."""
        if not self.text.startswith(('data: {"error"', "event: error")):
            return None
        body = json.loads(self.data)
        code = body["error"].get("code") if isinstance(body.get("error"), dict) else None
        return VLLMError(code if isinstance(code, int) else 500, body)


async def answer(
    job: OpenAIJob, job_id: str, engine: Engine, settings: Settings
) -> AsyncIterator[Any]:
    """The outputs of the job: one JSON value or, for an event stream, pieces of it.

    A piece is text made of whole events, or with RAW_OPENAI_OUTPUT=0 a list of their data.
    Raises RouteRefused and NoSuchRoute, and VLLMError for an error status or after an error event,
    which the client gets first.
    """
    check_path(job.path)
    pace = Pace(settings.max_delay)
    request = await vllm_request(job, job_id, settings, pace)
    response = await engine.call(request)
    try:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            answer = _body(job, response, await response.read())
            selection = request.selection
            yield with_best(answer, job, selection) if selection.from_samples else answer
            return
        async for piece in in_pieces(_events(response, pace), settings.schedule, pace):
            yield _raw(piece) if settings.raw_openai_output else _parsed(piece)
    finally:
        await response.aclose()


def _body(job: OpenAIJob, response: Response, content: bytes) -> Any:
    """The body as JSON, or as text where it is none. Raises JobError for an error."""
    kind = response.headers.get("content-type", "bytes")
    try:
        body: Any = content.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{job.route} answers with {kind}; a job can only carry text.") from None
    if kind.startswith("application/json"):
        body = msgspec.json.decode(content)  # large with log-probabilities, and the loop waits
    if isinstance(body, dict) and body.keys() == {"detail"}:  # the framework's answer, not vLLM's
        if response.status == 404:
            raise NoSuchRoute(f"{job.route} is not a route of the loaded model.", "route")
        if response.status == 405:
            raise MethodNotAllowed(job.route, job.method, response.headers.get("allow", ""))
    if response.status >= 400:
        raise VLLMError(response.status, body)
    if isinstance(body, dict) and body.get("error"):
        # The SDK fails a job whose output has an "error", and so would write it as a Python repr.
        raise VLLMError(500, body)
    return body


async def _events(response: Response, pace: Pace) -> AsyncGenerator[Event]:
    """The events of the stream. Raises the error that an event carries after the stream's end."""
    failure: JobError | None = None
    counted = 0
    try:
        async for text in _whole_events(response):
            tokens = _tokens(text)
            if tokens and pace.attached:
                tokens, counted = pace.released - counted, pace.released
            event = Event(text, tokens)
            failure = failure or event.error
            yield event
    except Exception as error:
        # The application broke off in mid-stream: say so in the stream as well.
        if isinstance(error, JobError) and error.code < 500:
            failure = error  # Responses are only checked when the stream has begun
        else:
            failure = EngineFailure("The engine failed in the middle of this stream.")
            failure.__cause__ = error.__cause__ or error
        yield Event(failure.as_event())
    finally:
        await response.aclose()
    if failure:
        raise failure


async def _whole_events(response: Response) -> AsyncIterator[str]:
    """Text up to and with each blank line, however the application cut it."""
    rest = b""
    async for chunk in response.chunks():
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            yield event.decode() + "\n\n"
    if rest:
        yield rest.decode() + "\n\n"


def _tokens(event: str) -> int:
    """How many tokens an event is counted as: one if it brings text.

    A chat's first event has only a role. Responses and Messages name their events, and those that
    bring text are called `….delta` or `…_delta`.
    """
    if event.startswith("event: "):
        return int(event.partition("\n")[0].endswith("delta"))
    return int('"delta":{"role"' not in event and not event.startswith("data: [DONE]"))


def _raw(piece: list[Event]) -> str:
    return "".join(event.text for event in piece)


def _parsed(piece: list[Event]) -> list[Any]:
    return [
        msgspec.json.decode(event.data) for event in piece if event.data and event.data != "[DONE]"
    ]
