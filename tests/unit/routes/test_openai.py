"""OpenAI's routes: answers of an application become the outputs of a job."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.fake_engine import FakeEngine
from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.protocol import RequestContext
from vllm_worker.errors import EngineFailure, JobError
from vllm_worker.jobs.inputs import OpenAIJob
from vllm_worker.routes import openai as openai_route
from vllm_worker.routes.allowlist import open_route

CONTEXT = RequestContext("job-1")


def settings(**environ: str) -> Any:
    return load_settings({"STREAM_MAX_DELAY_MS": "0"} | environ)


def event(data: Any) -> str:
    return f"data: {json.dumps(data)}\n\n"


def sse(*events: str, then: Exception | None = None) -> Route:
    async def body() -> AsyncIterator[str]:
        for text in events:
            yield text
        if then:
            raise then

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(body(), media_type="text/event-stream")

    return Route("/v1/completions", endpoint, methods=["POST"])


async def openai(route: Route, *, raw: str = "1", **job: Any) -> AsyncIterator[Any]:
    engine = FakeEngine(app=Starlette(routes=[route]))
    request = OpenAIJob(**({"route": route.path, "body": {"a": 1}} | job))
    async for output in answer(request, engine, RAW_OPENAI_OUTPUT=raw):
        yield output


def answer(request: OpenAIJob, engine: FakeEngine, **environ: str) -> AsyncIterator[Any]:
    route = open_route(request.path)
    return openai_route.answer(request, route, CONTEXT, engine, settings(**environ))


async def outputs_and_error(answers: AsyncIterator[Any]) -> tuple[list[Any], JobError]:
    outputs = []
    with pytest.raises(JobError) as raised:
        async for output in answers:
            outputs.append(output)
    return outputs, raised.value


TOKENS = [event({"i": i}) for i in range(5)]
DONE = "data: [DONE]\n\n"


async def test_a_stream_comes_as_text_in_whole_events() -> None:
    chunks = [chunk async for chunk in openai(sse(*TOKENS, DONE))]
    assert chunks == [TOKENS[0], "".join(TOKENS[1:4]), TOKENS[4] + DONE]


async def test_the_event_with_the_role_travels_with_the_first_token() -> None:
    role = 'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    chunks = [chunk async for chunk in openai(sse(role, *TOKENS))]
    assert chunks[0] == role + TOKENS[0]


async def test_events_are_whole_however_the_application_cuts_them() -> None:
    text = "".join([event({"text": "héllo ✓"}), *TOKENS])
    characters = text.encode()
    halves = [characters[i : i + 7] for i in range(0, len(characters), 7)]

    async def endpoint(request: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for half in halves:
                yield half

        return StreamingResponse(body(), media_type="text/event-stream")

    route = Route("/v1/completions", endpoint, methods=["POST"])
    chunks = [chunk async for chunk in openai(route)]
    assert "".join(chunks) == text
    assert all(chunk.endswith("\n\n") for chunk in chunks)


async def test_without_raw_output_a_chunk_is_a_list_of_parsed_events() -> None:
    chunks = [chunk async for chunk in openai(sse(*TOKENS, DONE), raw="0")]
    assert chunks == [[{"i": 0}], [{"i": 1}, {"i": 2}, {"i": 3}], [{"i": 4}]]


async def test_an_error_event_reaches_the_client_and_then_fails_the_job() -> None:
    error = {"error": {"message": "no", "type": "T", "param": None, "code": 507}}
    outputs, failure = await outputs_and_error(openai(sse(TOKENS[0], event(error), DONE)))
    assert outputs == [TOKENS[0], event(error) + DONE]
    assert failure.as_object() == error["error"]


async def test_a_stream_that_breaks_off_ends_with_an_error_event() -> None:
    outputs, failure = await outputs_and_error(openai(sse(TOKENS[0], then=RuntimeError("x"))))
    assert isinstance(failure, EngineFailure)
    assert outputs == [TOKENS[0], event({"error": failure.as_object()})]
    assert "RuntimeError" not in failure.message


async def test_a_body_is_one_output() -> None:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(
            {"id": request.headers["x-request-id"], "got": await request.json(), "error": None}
        )

    route = Route("/v1/completions", endpoint, methods=["POST"])
    assert [o async for o in openai(route, body={"b": 2})] == [
        {"id": "job-1", "got": {"b": 2}, "error": None}
    ]


async def test_a_body_that_is_no_json_is_one_text() -> None:
    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse("plain")

    assert [o async for o in openai(Route("/v1/completions", endpoint), body=None)] == ["plain"]


async def test_bytes_that_a_job_cannot_carry_are_an_error() -> None:
    async def endpoint(request: Request) -> Response:
        return Response(b"\xff\x00", media_type="application/octet-stream")

    route = Route("/v1/completions", endpoint, methods=["POST"])
    _, failure = await outputs_and_error(openai(route))
    assert failure.code == 400
    assert "application/octet-stream" in failure.message


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ('data: {"choices":[{"delta":{"content":"x"}}]}\n\n', 1),
        ('data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n', 0),
        ("data: [DONE]\n\n", 0),
        ("event: response.created\ndata: {}\n\n", 0),
        ("event: response.output_text.delta\ndata: {}\n\n", 1),
        ("event: content_block_delta\ndata: {}\n\n", 1),
        ("event: message_start\ndata: {}\n\n", 0),
    ],
)
async def test_an_event_counts_as_a_token_when_it_brings_text(text: str, tokens: int) -> None:
    padded = [text, *TOKENS]
    first, *_ = [chunk async for chunk in openai(sse(*padded))]
    assert first == (text if tokens else text + TOKENS[0])


async def test_an_error_body_keeps_its_status() -> None:
    async def endpoint(request: Request) -> JSONResponse:
        error = {"message": "too long", "type": "BadRequestError", "param": "input", "code": 400}
        return JSONResponse({"error": error}, status_code=400)

    outputs, failure = await outputs_and_error(
        openai(Route("/v1/completions", endpoint, methods=["POST"]))
    )
    assert outputs == []
    assert failure.as_object() == {
        "message": "too long",
        "type": "BadRequestError",
        "param": "input",
        "code": 400,
    }


async def test_an_unknown_route_and_a_wrong_method_are_named() -> None:
    engine = FakeEngine(app=FastAPILike())
    unknown = OpenAIJob(route="/v1/embeddings", body={"a": 1})
    _, failure = await outputs_and_error(answer(unknown, engine))
    assert (failure.code, failure.param) == (404, "route")
    assert "/v1/embeddings" in failure.message
    wrong = OpenAIJob(route="/v1/chat/completions", body={})
    _, failure = await outputs_and_error(answer(wrong, engine))
    assert (failure.code, failure.param) == (405, "method")
    assert failure.message.startswith("/v1/chat/completions takes POST, not GET.")


class FastAPILike:
    """Answers as FastAPI's router does for what it does not know."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        known = scope["path"] == "/v1/chat/completions"
        status, detail = (405, "Method Not Allowed") if known else (404, "Not Found")
        response = JSONResponse({"detail": detail}, status, {"allow": "POST"} if known else None)
        await response(scope, receive, send)
