"""The HTTP door over an engine without a model."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.support.fake_engine import FakeEngine, words
from vllm_worker.configuration.settings import load_settings
from vllm_worker.http_server.app import create_app
from vllm_worker.web.keys import Keys
from vllm_worker.worker import Worker

CHAT = "/v1/chat/completions"


async def echo(request: Request) -> Response:
    """vLLM's part: the body again, as JSON or as events."""
    body = json.loads(await request.body())
    if "status" in body:
        return JSONResponse({"error": {"message": "wrong", "code": body["status"]}}, body["status"])
    if not body.get("stream"):
        return JSONResponse({"got": body})

    async def events() -> AsyncIterator[str]:
        for word in ("a", "b"):
            await asyncio.sleep(body.get("pause", 0))
            yield f"data: {json.dumps(word)}\n\n"
        if body.get("error"):
            yield 'data: {"error": {"message": "no", "code": 400}}\n\n'
        if body.get("break"):
            raise ConnectionError("broken")
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def engine() -> FakeEngine:
    routes = [CHAT, "/v1/messages", "/v1/completions"]
    return FakeEngine(
        words("Hi", " you"), Starlette(routes=[Route(r, echo, methods=["POST"]) for r in routes])
    )


@asynccontextmanager
async def door(
    engine: FakeEngine, keys: list[str] | None = None, **settings: str
) -> AsyncIterator[tuple[httpx.AsyncClient, Worker]]:
    worker = Worker(load_settings(settings), engine)
    await worker.start()
    app = create_app(worker, Keys(keys or []))

    async def in_a_task(scope: Scope, receive: Receive, send: Send) -> None:
        """As uvicorn answers each request."""
        await asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]

    transport = httpx.ASGITransport(in_a_task)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        yield client, worker


async def test_what_vllm_answers_keeps_its_status_and_body() -> None:
    async with door(engine()) as (client, _):
        answer = await client.post(CHAT, json={"model": "demo", "messages": []})
        assert (answer.status_code, answer.json()["got"]["model"]) == (200, "demo")
        assert answer.headers["x-request-id"].startswith("http-")
        refused = await client.post(CHAT, json={"status": 422, "messages": []})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, 422)
        mine = await client.post(CHAT, json={"messages": []}, headers={"X-Request-Id": "mine-1"})
        assert mine.headers["x-request-id"] == "mine-1"


async def test_the_log_says_how_each_request_ended(worker_log: pytest.LogCaptureFixture) -> None:
    async with door(engine()) as (client, _):
        body: dict[str, Any]
        for body in (
            {"messages": []},
            {"messages": [], "stream": True},
            {"messages": [], "stream": True, "break": True},
            {"messages": [], "stream": True, "error": True},
            {"status": 422, "messages": []},
            {"status": 500, "messages": []},
        ):
            await client.post(CHAT, json=body, headers={"X-Request-Id": "a-client's-text"})
        await client.post("/sleep", json={"a": 1})
        await asyncio.sleep(0.01)
    lines = [line for line in worker_log.messages if " s in all, " in line]
    ends = [line.rpartition(", ")[2] for line in lines]
    assert ends == [
        "completed",
        "completed",
        "failed with 500",
        "failed with 400",
        "failed with 422",
        "failed with 500",
        "failed with 403",
    ]
    assert "a-client's-text" not in worker_log.text


async def test_what_could_not_be_sent_to_the_engine_is_refused_as_in_a_job() -> None:
    async with door(engine()) as (client, _):
        for content in (b'{"seed": 1180591620717411303424}', b'{"\\ud800": NaN, "a": "\\ud800"}'):
            answer = await client.post(CHAT, content=content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


async def test_a_stream_leaves_event_by_event() -> None:
    async with door(engine()) as (client, _):
        body = {"messages": [], "stream": True}
        async with client.stream("POST", CHAT, json=body) as answer:
            parts = [part async for part in answer.aiter_text()]
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "".join(parts) == 'data: "a"\n\ndata: "b"\n\ndata: [DONE]\n\n'


async def test_a_stream_that_breaks_ends_with_an_error() -> None:
    async with door(engine()) as (client, _):
        answer = await client.post(CHAT, json={"messages": [], "stream": True, "break": True})
        *_, last, _ = answer.text.split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == 500
        assert "broken" not in answer.text


async def test_native_jobs() -> None:
    path = "/generate"
    async with door(engine()) as (client, _):
        whole = (await client.post(path, json={"prompt": "x"})).json()
        assert whole["choices"][0]["tokens"] == ["Hi", " you"]
        wrapped = await client.post(path, json={"input": {"prompt": "x", "stream": True}})
        *events, done, _ = wrapped.text.split("\n\n")
        texts = [
            json.loads(event.removeprefix("data: "))["choices"][0]["tokens"] for event in events
        ]
        assert texts == [["Hi"], [" you"]]
        assert done == "data: [DONE]"
        refused = await client.post(path, json={"prompt": 5})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
        other = await client.post(path, json={"openai_route": "/v1/models"})
        assert other.status_code == 400


async def test_runpods_form_of_a_job_that_has_ended() -> None:
    async with door(engine()) as (client, _):
        for stream, outputs in ((False, [["Hi", " you"]]), (True, [["Hi"], [" you"]])):
            job = {"prompt": "x", "stream": stream, "max_batch_size": 1}
            ended = (await client.post("/runsync", json={"input": job, "policy": {}})).json()
            assert ended["status"] == "COMPLETED"
            assert ended["id"].startswith("http-")
            assert [output["choices"][0]["tokens"] for output in ended["output"]] == outputs
        wrong = await client.post("/runsync", json={"input": {"prompt": 5}})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "prompt")


async def test_a_long_answer_comes_in_parts_that_a_slow_client_can_take() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        for message in received:
            return message
        return await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    body = json.dumps({"messages": [], "text": "x" * 200_000}).encode()
    received = iter([{"type": "http.request", "body": body, "more_body": False}])
    scope = {
        "type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(),
        "query_string": b"", "headers": [],
    }  # fmt: skip
    async with door(engine()) as (_, worker):
        app: Any = create_app(worker, Keys([]))
        await asyncio.create_task(app(scope, receive, send))
    start, *parts = sent
    sizes = [len(part["body"]) for part in parts]
    assert dict(start["headers"])[b"content-length"] == str(sum(sizes)).encode()
    assert len(sizes) >= 4
    assert max(sizes) <= 64 * 1024


async def test_a_query_reaches_vllm_as_it_was_sent() -> None:
    async with door(engine()) as (client, _):
        answer = await client.post(f"{CHAT}?a=%C3%A9&b=%FF", json={"messages": []})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/sleep", 403), ("/v1/nope", 404), ("/", 404), ("/v1/load_lora_adapter", 403)],
)
async def test_what_is_closed_to_jobs_is_closed_here(path: str, status: int) -> None:
    async with door(engine()) as (client, _):
        answer = await client.post(path, json={"a": 1})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)


async def test_a_request_needs_a_key_but_not_for_the_health() -> None:
    async with door(engine(), ["secret"]) as (client, _):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Api-Key": "secre"}):
            answer = await client.post(CHAT, json={"messages": []}, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["connection"] == "close"
            assert answer.json()["error"]["type"] == "AuthenticationError"
            assert (await client.get("/metrics", headers=headers)).status_code == 401
        for headers in ({"Authorization": "Bearer secret"}, {"X-Api-Key": "secret"}):
            assert (
                await client.post(CHAT, json={"messages": []}, headers=headers)
            ).status_code == 200
        assert (await client.get("/ping")).status_code == 200
        anthropic = (await client.post("/v1/messages", json={})).json()
        assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")


async def test_the_keys_name_is_in_the_log_and_not_the_key(
    worker_log: pytest.LogCaptureFixture,
) -> None:
    async with door(engine(), ["secret"]) as (client, _):
        await client.post(CHAT, json={"messages": []}, headers={"X-Api-Key": "secret"})
        await asyncio.sleep(0.01)
    assert ", key key," in worker_log.text
    assert "secret" not in worker_log.text


async def test_a_full_worker_and_a_large_body_are_said() -> None:
    slow = engine()
    slow.pause = 0.2
    async with door(slow, MAX_CONCURRENCY="1", MAX_BODY_BYTES="100") as (client, _):
        first = asyncio.create_task(client.post("/generate", json={"prompt": "x"}))
        await asyncio.sleep(0.05)
        busy = await client.post("/generate", json={"prompt": "x"})
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        assert (await first).status_code == 200
        large = await client.post("/generate", json={"prompt": "x" * 100})
        assert large.status_code == 413


async def test_the_health_says_what_the_worker_is_up_to() -> None:
    subject = engine()
    worker = Worker(load_settings({"HEALTH_CHECK_PATH": "/healthz"}), subject)
    transport = httpx.ASGITransport(create_app(worker, Keys([])))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/ping")).status_code == 204
        assert (await client.post(CHAT, json={})).status_code == 503
        await worker.start()
        for path in ("/ping", "/health", "/healthz"):
            assert (await client.get(path)).status_code == 200
        worker.shut_down()
        assert (await client.get("/ping")).status_code == 503
        assert (await client.post(CHAT, json={})).status_code == 503
    async with door(subject) as (client, _):
        subject.dead = True
        assert (await client.get("/ping")).status_code == 503
        assert (await client.post(CHAT, json={})).status_code == 503


async def test_browsers_may_ask_where_the_operator_says_so() -> None:
    page = {"Origin": "https://page.example"}
    origin = "https://page.example"
    async with door(engine(), ALLOWED_ORIGINS=origin, ALLOWED_METHODS='["POST"]') as (client, _):
        answer = await client.post(CHAT, json={"messages": []}, headers=page)
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        asked = page | {"Access-Control-Request-Method": "POST"}
        may = await client.options(CHAT, headers=asked)
        assert may.headers["access-control-allow-methods"] == "POST"
        assert "access-control-allow-credentials" not in may.headers
    async with door(engine()) as (client, _):
        answer = await client.post(CHAT, json={"messages": []}, headers=page)
        assert "access-control-allow-origin" not in answer.headers


async def test_who_asks_for_another_protocol_is_told_to_stay() -> None:
    async with door(engine()) as (client, _):
        headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
        answer = await client.post(CHAT, json={"messages": []}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "upgrade")
        assert answer.headers["connection"] == "close"


async def test_native_paths_take_posts_alone() -> None:
    async with door(engine()) as (client, _):
        for path in ("/generate", "/runsync"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_anthropics_errors_have_anthropics_types() -> None:
    async with door(engine()) as (client, _):
        answer = await client.post("/v1/messages", json={"status": 404, "messages": []})
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
        assert answer.json()["error"]["message"] == "wrong"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_a_method_that_no_route_takes(method: str) -> None:
    async with door(engine()) as (client, _):
        answer = await client.request(method, "/v1/models")
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]


async def test_anthropics_streams_end_with_anthropics_errors() -> None:
    async with door(engine()) as (client, _):
        body = {"messages": [], "stream": True, "break": True}
        answer = await client.post("/v1/messages", json=body)
        *_, last, _ = answer.text.split("\n\n")
        kind, data = last.split("\n")
        assert kind == "event: error"
        assert json.loads(data.removeprefix("data: "))["error"]["type"] == "api_error"


async def test_who_stalls_does_not_hold_a_place_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.http_server.door._UPLOAD_S", 0.1)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    async with door(engine(), MAX_CONCURRENCY="1") as (client, worker):
        answer = await client.post(CHAT, content=stalled())
        assert answer.status_code == 408
        await asyncio.sleep(0)
        assert not worker.jobs_in_flight


@pytest.mark.parametrize(
    ("content", "kind"), [(b"{", "application/json"), (b"x", "multipart/form-data; boundary=y")]
)
async def test_a_body_that_cannot_be_read_is_said(content: bytes, kind: str) -> None:
    async with door(engine()) as (client, worker):
        answer = await client.post(CHAT, content=content, headers={"Content-Type": kind})
        assert answer.status_code == 400
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        await asyncio.sleep(0)
        assert not worker.jobs_in_flight


async def test_the_page_is_told_when_the_worker_ends_and_when_the_engine_has_died() -> None:
    key = {"Authorization": "Bearer k"}
    async with door(engine(), ["k"]) as (client, worker):
        path = "/playground/worker.json"
        assert (await client.get(path)).status_code == 401
        said = (await client.get(path, headers=key)).json()
        assert said == {"ready": True, "dead": False, "ending": False}
        worker.shut_down()
        assert (await client.get(path, headers=key)).json()["ending"]
        worker.engine.mark_dead()
        assert (await client.get(path, headers=key)).json()["dead"]
