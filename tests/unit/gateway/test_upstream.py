"""RunPod's queue, in whose place an application answers as RunPod does."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from vllm_worker.gateway.file import Provider
from vllm_worker.gateway.upstream import Upstream

FAILURE = {"message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}
CHAT = "/cold/v1/chat/completions"
EVENTS = [b'data: {"choices": [1]}\n\n', b'data: {"choices": [2]}\n\n', b"data: [DONE]\n\n"]


async def stream(events: list[bytes]) -> AsyncIterator[bytes]:
    for event in events:
        yield event


async def runpod(request: Request) -> Response:
    """Answers by the model that is asked for."""
    body = await request.json() if request.method == "POST" else {}
    match body.get("model"):
        case "fails":
            return JSONResponse({"error": FAILURE})
        case "fails as a job":
            return JSONResponse({"status": "FAILED", "error": json.dumps(FAILURE)})
        case "fails with a text":
            return JSONResponse({"status": "FAILED", "error": "job timed out after 1 retries"})
        case "fails in a stream":
            event = f"data: {json.dumps({'error': FAILURE})}\n\n".encode()
            return StreamingResponse(stream([event]), media_type="text/event-stream")
        case "streams":
            return StreamingResponse(stream(EVENTS), media_type="text/event-stream")
        case "is busy":
            return JSONResponse({"error": {"message": "busy"}}, 429, {"Retry-After": "3"})
        case "sleeps":
            await asyncio.sleep(60)
    seen = {"path": request.url.path, "key": request.headers["authorization"], "body": body}
    return JSONResponse(seen)


async def ask(path: str, password: str = "password", **given: Any) -> httpx.Response:
    routes = [Route("/{path:path}", runpod, methods=["GET", "POST"])]
    there = httpx.ASGITransport(Starlette(routes=routes))
    provider = Provider(endpoint="abc", key="KEY", wait=0.3)
    async with httpx.AsyncClient(transport=there) as client:
        app = Upstream({"cold": provider}, {"cold": "rpa_1"}, "password", client).app()
        here = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {password}"}
        async with httpx.AsyncClient(
            transport=here, base_url="http://here", headers=headers
        ) as asking:
            return await asking.request("POST" if given else "GET", path, **given)


async def test_a_request_goes_on_with_the_endpoints_key() -> None:
    seen = (await ask(CHAT, json={"model": "m"})).json()
    assert seen == {
        "path": "/v2/abc/openai/v1/chat/completions",
        "key": "Bearer rpa_1",
        "body": {"model": "m"},
    }
    assert (await ask("/cold/v1/models")).json()["path"] == "/v2/abc/openai/v1/models"


@pytest.mark.parametrize("model", ["fails", "fails as a job", "fails in a stream"])
async def test_an_error_in_an_answer_is_its_status(model: str) -> None:
    answer = await ask(CHAT, json={"model": model})
    assert (answer.status_code, answer.json()) == (400, {"error": FAILURE})


async def test_what_runpod_says_of_a_job_is_an_error_too() -> None:
    answer = await ask(CHAT, json={"model": "fails with a text"})
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "job timed out after 1 retries"


async def test_other_statuses_are_left_as_they_are() -> None:
    answer = await ask(CHAT, json={"model": "is busy"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


async def test_a_stream_comes_as_it_is() -> None:
    answer = await ask(CHAT, json={"model": "streams"})
    assert answer.content == b"".join(EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_an_endpoint_that_does_not_begin_to_answer_is_given_up() -> None:
    answer = await ask(CHAT, json={"model": "sleeps"})
    assert answer.status_code == 504
    assert answer.json()["error"]["message"] == "cold did not begin to answer within 0.3 s"


async def test_an_upload_goes_as_json() -> None:
    form = {"model": "whisper"}
    answer = await ask("/cold/v1/audio/transcriptions", data=form, files={"file": ("a.wav", b"x")})
    file = {"data": "eA==", "filename": "a.wav"}
    assert answer.json()["body"] == {"model": "whisper", "file": file}


@pytest.mark.parametrize("password", ["", "passwort", "password2"])
async def test_nobody_else_may_ask(password: str) -> None:
    assert (await ask(CHAT, password, json={"model": "m"})).status_code == 401
