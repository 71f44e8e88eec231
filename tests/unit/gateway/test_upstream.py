"""RunPod's queue, in whose place an application answers as RunPod does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from starlette.types import Message

from vllm_worker.gateway.file import Provider
from vllm_worker.gateway.passage import TOKEN_HEADER, Passage, Passages
from vllm_worker.gateway.upstream import Upstream

FAILURE = {"message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}
CHAT = "/cold/v1/chat/completions"
EVENTS = [b'data: {"choices": [1]}\n\n', b'data: {"choices": [2]}\n\n', b"data: [DONE]\n\n"]


ANSWERS: dict[str, Any] = {
    "fails": {"error": FAILURE},
    "fails as a job": {"status": "FAILED", "error": json.dumps(FAILURE)},
    "fails with a text": {"status": "FAILED", "error": "job timed out after 1 retries"},
}
STREAMS = {
    "fails in a stream": [f"data: {json.dumps({'error': FAILURE})}\n\n".encode()],
    "streams": EVENTS,
    "streams with CR": [event.replace(b"\n", b"\r\n") for event in EVENTS],
    "breaks off": EVENTS[:2],
}
"""By the model that is asked for."""


async def runpod(request: web.Request) -> web.StreamResponse:
    body = await request.json() if request.method == "POST" else {}
    model = body.get("model")
    if model in ANSWERS:
        return web.json_response(ANSWERS[model])
    if model in STREAMS:
        return await stream(request, STREAMS[model], breaks=model == "breaks off")
    match model:
        case "is busy":
            headers = {"Retry-After": "3"}
            return web.json_response({"error": {"message": "busy"}}, status=429, headers=headers)
        case "gone":
            return web.json_response({"error": FAILURE}, status=404)
        case "leads away":
            raise web.HTTPTemporaryRedirect("http://elsewhere/")
        case "sleeps":
            await asyncio.sleep(60)
    seen = {"path": request.path, "key": request.headers["authorization"], "body": body}
    return web.json_response(seen)


async def stream(request: web.Request, events: list[bytes], *, breaks: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for event in events:
        await response.write(event)
    if breaks and request.transport:
        await asyncio.sleep(0.05)
        request.transport.abort()
    return response


@asynccontextmanager
async def upstream(passages: Passages, password: str) -> AsyncIterator[httpx.AsyncClient]:
    """Who asks it, with a password."""
    there = web.Application()
    there.router.add_route("*", "/{path:.*}", runpod)
    async with TestServer(there) as server, aiohttp.ClientSession() as session:
        provider = Provider.model_validate(
            {"endpoint": "abc", "key": "KEY", "wait": 0.5, "api": str(server.make_url("/v2"))}
        )
        keys = {"cold": {"Authorization": "Bearer rpa_1"}}
        app = Upstream({"cold": provider}, keys, "password", session, passages).app()
        here = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {password}"}
        async with httpx.AsyncClient(
            transport=here, base_url="http://here", headers=headers
        ) as client:
            yield client


async def stays() -> Message:
    """In the place of a client's `receive`."""
    return await asyncio.Future()


async def send_nowhere(_: Message) -> None:
    pass


async def ask(path: str, password: str = "password", **given: Any) -> httpx.Response:
    """For a client that waits."""

    passages = Passages()
    passage = Passage(stays, send_nowhere)
    async with upstream(passages, password) as client, passages.made(passage) as token:
        headers = {TOKEN_HEADER: token}
        return await client.request("POST" if given else "GET", path, headers=headers, **given)


async def ask_with_a_passage(model: str, *, is_open: bool = True) -> tuple[str, list[Message]]:
    """What LiteLLM gets of a stream, and what the client gets by the passage."""
    passages, sent = Passages(), list[Message]()
    asked = {"model": "default/m", "stream": True, "stream_options": {"include_usage": True}}

    async def send(message: Message) -> None:
        sent.append(message)

    passage = Passage(stays, send, "/v1/chat/completions", asked)
    async with (
        upstream(passages, "password") as client,
        passages.made(passage) as token,
    ):
        if is_open:
            passage.open({})
        headers = {TOKEN_HEADER: token}
        answer = await client.post(CHAT, json={"model": model}, headers=headers)
        again = await client.post(CHAT, json={"model": model}, headers=headers)
        assert again.status_code == (409 if passage.is_answered else answer.status_code)
    return answer.text, sent


async def test_a_request_goes_on_with_the_endpoints_key() -> None:
    seen = (await ask(CHAT, json={"model": "m"})).json()
    assert seen == {
        "path": "/v2/abc/openai/v1/chat/completions",
        "key": "Bearer rpa_1",
        "body": {"model": "m"},
    }


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


async def test_line_ends_of_other_servers_are_ends_of_events_too() -> None:
    answer = await ask(CHAT, json={"model": "streams with CR"})
    assert answer.content == b"".join(EVENTS)


async def test_a_stream_goes_by_an_open_passage_to_the_client() -> None:
    told, sent = await ask_with_a_passage("streams")
    start, *bodies = sent
    assert (b"x-provider", b"cold") in start["headers"]
    assert b"".join(body["body"] for body in bodies) == b"".join(EVENTS[:2])
    assert told.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("model", "is_open"), [("streams", False), ("fails in a stream", True), ("is busy", True)]
)
async def test_what_else_leaves_a_passage_unused(model: str, is_open: bool) -> None:
    assert (await ask_with_a_passage(model, is_open=is_open))[1] == []


async def test_a_stream_that_breaks_off_tells_the_client() -> None:
    _, (_, *bodies) = await ask_with_a_passage("breaks off")
    error = json.loads(bodies[-1]["body"].removeprefix(b"data: "))["error"]
    assert "cold broke off" in error["message"]
    assert b"".join(body["body"] for body in bodies[:-1]) == EVENTS[0] + EVENTS[1]


async def test_what_a_client_has_left_is_not_waited_for() -> None:
    left: Message = {"type": "http.disconnect"}

    async def receive() -> Message:
        await asyncio.sleep(0.05)
        return left

    passages = Passages()
    passage = Passage(receive, send_nowhere)
    async with upstream(passages, "password") as client, passages.made(passage) as token:
        headers = {TOKEN_HEADER: token}
        answers = [
            await client.post(CHAT, json={"model": "sleeps"}, headers=headers) for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [499, 409]


async def test_a_provider_gets_the_clients_own_body_with_its_name_of_the_model() -> None:
    body = {"model": "default/m", "min_p": 0.1, "fallbacks": [], "cache": {"ttl": 1}}
    passage = Passage(stays, send_nowhere, "/v1/chat/completions", body)
    passages = Passages()
    async with upstream(passages, "password") as client, passages.made(passage) as token:
        headers = {TOKEN_HEADER: token}
        answer = await client.post(CHAT, json={"model": "m"}, headers=headers)
    assert answer.json()["body"] == {"model": "m", "min_p": 0.1, "fallbacks": []}


async def test_a_response_that_is_gone_is_not_a_model_that_is_gone() -> None:
    for body, status in (({}, 404), ({"previous_response_id": "resp_1"}, 400)):
        passage = Passage(stays, send_nowhere, "/v1/responses", body)
        passages = Passages()
        async with upstream(passages, "password") as client, passages.made(passage) as token:
            headers = {TOKEN_HEADER: token}
            path = "/cold/v1/responses"
            answer = await client.post(path, json={"model": "gone"}, headers=headers)
        assert answer.status_code == status


async def test_what_no_client_has_asked_for_is_not_asked_for() -> None:
    async with upstream(Passages(), "password") as client:
        assert (await client.post(CHAT, json={"model": "m"})).status_code == 403


@pytest.mark.parametrize("path", ["files", "model/m/invoke", "../v2/other/run"])
async def test_other_paths_of_a_provider_are_not_asked_for(path: str) -> None:
    assert (await ask(f"/cold/v1/{path}", json={"model": "m"})).status_code == 404


async def test_a_key_goes_to_no_other_place() -> None:
    assert (await ask(CHAT, json={"model": "leads away"})).status_code == 307


async def test_an_endpoint_that_does_not_begin_to_answer_is_given_up() -> None:
    answer = await ask(CHAT, json={"model": "sleeps"})
    assert answer.status_code == 504
    assert answer.json()["error"]["message"] == "cold did not begin to answer within 0.5 s"


async def test_an_upload_goes_as_json() -> None:
    form = {"model": "whisper"}
    answer = await ask("/cold/v1/audio/transcriptions", data=form, files={"file": ("a.wav", b"x")})
    file = {"data": "eA==", "filename": "a.wav"}
    assert answer.json()["body"] == {"model": "whisper", "file": file}


@pytest.mark.parametrize("password", ["", "passwort", "password2"])
async def test_nobody_else_may_ask(password: str) -> None:
    assert (await ask(CHAT, password, json={"model": "m"})).status_code == 401
