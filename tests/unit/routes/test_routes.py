import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.fake_engine import FakeEngine, words
from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.protocol import Delta, RequestContext
from vllm_worker.errors import EngineFailure, JobError, NoSuchRoute
from vllm_worker.jobs.inputs import NativeJob, OpenAIJob
from vllm_worker.routes import native as native_route
from vllm_worker.routes import openai as openai_route
from vllm_worker.routes.allowlist import open_route
from vllm_worker.streaming.schedule import Schedule

CONTEXT = RequestContext("job-1")


def settings(**environ: str) -> Any:
    return load_settings({"STREAM_MAX_DELAY_MS": "0"} | environ)


# The native route


async def native(job: dict[str, Any], *deltas: Any) -> list[Any]:
    engine = FakeEngine(deltas)
    return [o async for o in native_route.answer(NativeJob(**job), CONTEXT, engine, settings())]


def test_a_job_changes_the_schedule_where_it_says_so() -> None:
    default = Schedule(1, 50, 3)
    assert native_route.schedule_of(NativeJob(prompt=""), default) == default
    sizes = {"min_batch_size": 2, "max_batch_size": 10, "batch_size_growth_factor": 2}
    job = NativeJob.model_validate({"prompt": "", **sizes})
    assert native_route.schedule_of(job, default) == Schedule(2, 10, 2)


async def test_a_native_job_that_does_not_stream_has_one_output() -> None:
    final = Delta(0, ["All of it."], 4, input_tokens=5, finish_reason="stop")
    assert await native({"prompt": "x"}, final) == [
        {
            "choices": [{"tokens": ["All of it."], "finish_reason": "stop"}],
            "usage": {"input": 5, "output": 4},
        }
    ]


async def test_a_native_stream_counts_on_and_ends_with_the_finish_reason() -> None:
    outputs = await native({"prompt": "x", "stream": True}, *words("a", "b", "c", "d", "e"))
    assert outputs == [
        {"choices": [{"tokens": ["a"]}], "usage": {"input": 5, "output": 1}},
        {"choices": [{"tokens": ["b", "c", "d"]}], "usage": {"input": 5, "output": 4}},
        {
            "choices": [{"tokens": ["e"], "finish_reason": "stop"}],
            "usage": {"input": 5, "output": 5},
        },
    ]


async def test_tokens_are_counted_not_deltas() -> None:
    merged = Delta(0, ["abcdef"], 6, input_tokens=5, finish_reason="length")
    outputs = await native({"prompt": "x", "stream": True}, merged)
    assert [output["usage"]["output"] for output in outputs] == [1, 4, 6]
    texts = [text for output in outputs for text in output["choices"][0]["tokens"]]
    assert "".join(texts) == "abcdef"


async def test_each_choice_gets_its_own_tokens_and_finish_reason() -> None:
    deltas = [
        Delta(0, ["a"], 1, 5),
        Delta(1, ["b"], 1, 5, "stop"),
        Delta(0, ["c"], 1, 5, "length"),
    ]
    job = {"prompt": "x", "stream": True, "sampling_params": {"n": 2}, "min_batch_size": 2}
    first, last = await native(job, *deltas)
    assert first["choices"] == [{"tokens": ["a"]}, {"tokens": ["b"]}]
    assert last["choices"] == [
        {"tokens": ["c"], "finish_reason": "length"},
        {"tokens": [], "finish_reason": "stop"},
    ]


# The OpenAI route


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
    assert outputs == [TOKENS[0], failure.as_event()]
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


async def test_an_unknown_route_and_a_wrong_method_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine(app=FastAPILike())
    unknown = OpenAIJob(route="/v1/embeddings", body={"a": 1})
    _, failure = await outputs_and_error(answer(unknown, engine))
    assert (failure.code, failure.param) == (404, "route")
    assert "/v1/embeddings" in failure.message
    wrong = OpenAIJob(route="/v1/chat/completions", body={})
    _, failure = await outputs_and_error(answer(wrong, engine))
    assert (failure.code, failure.param) == (405, "method")
    assert failure.message.startswith("/v1/chat/completions takes POST, not GET.")


@pytest.mark.parametrize(
    ("route", "code"),
    [
        ("/sleep", 403),
        ("/inference/v1/abort_requests", 403),
        ("/v1/load_lora_adapter?x=1", 403),
        ("/%73leep", 403),
        ("/metrics", 403),
        ("/v1/nope", 404),
        ("/v1/models/../sleep", 404),
        ("/v1/models/x", 404),
        ("/v1/responses/a/b/cancel", 404),
        ("/v1/models\n", 404),
    ],
)
def test_a_route_that_is_shut_or_unknown_is_not_called(route: str, code: int) -> None:
    with pytest.raises(JobError) as raised:
        open_route(OpenAIJob(route=route, body={"a": 1}).path)
    assert (raised.value.code, raised.value.param) == (code, "route")


@pytest.mark.parametrize(
    "route",
    ["/v1/models", "/v1/models?x=1", "/v1/responses/resp_1", "/v1/responses/resp%2F1/cancel"],
)
def test_a_route_that_is_named_is_open(route: str) -> None:
    if "%2F" in route:
        with pytest.raises(NoSuchRoute):  # a slash, however written, parts a path
            open_route(OpenAIJob(route=route).path)
    else:
        open_route(OpenAIJob(route=route).path)


class FastAPILike:
    """Answers as FastAPI's router does for what it does not know."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        known = scope["path"] == "/v1/chat/completions"
        status, detail = (405, "Method Not Allowed") if known else (404, "Not Found")
        response = JSONResponse({"detail": detail}, status, {"allow": "POST"} if known else None)
        await response(scope, receive, send)
