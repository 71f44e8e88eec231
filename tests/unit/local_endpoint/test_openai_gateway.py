"""The OpenAI gateway, asked by OpenAI's client and by plain HTTP."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.endpoint_fakes import FakeWorker, ManualClock
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.limits import Limits

MESSAGES = [{"role": "user", "content": "hi"}]
STREAM = {"stream": True}
FORM_TYPE = "multipart/form-data; boundary=a"
FORM = b'--a\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n--a--\r\n'


def failure(code: int) -> dict[str, str]:
    error = {"message": "no such model", "type": "NotFoundError", "param": "model", "code": code}
    return {"error": json.dumps(error)}


def chunk(text: str) -> str:
    delta = {"index": 0, "delta": {"content": text}}
    return f"data: {json.dumps({'id': 'c', 'choices': [delta]})}\n\n"


async def model(job_input: dict) -> AsyncIterator[Any]:
    """A handler like the worker's."""
    if job_input["openai_route"] == "/v1/models":
        assert "openai_input" not in job_input
        yield {"object": "list", "data": [{"id": "m", "object": "model"}]}
    elif job_input["openai_input"]["model"] != "m":
        yield failure(404)
    elif job_input["openai_input"].get("stream"):
        yield chunk("a") + chunk("b")
        yield chunk("ü") + "data: [DONE]\n\n"
    else:
        message = {"role": "assistant", "content": "hello"}
        yield {"id": "c", "choices": [{"index": 0, "message": message}]}


async def test_openais_client(live_url: str, live_worker: FakeWorker, serving: Any) -> None:
    def ask() -> None:
        with openai.OpenAI(base_url=f"{live_url}/openai/v1", api_key="x", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["m"]
            chat = client.chat.completions
            assert chat.create(model="m", messages=MESSAGES).choices[0].message.content == "hello"
            stream = chat.create(model="m", messages=MESSAGES, stream=True)
            assert [c.choices[0].delta.content for c in stream] == ["a", "b", "ü"]
            for streaming in (False, True):
                with pytest.raises(openai.NotFoundError, match="no such model") as caught:
                    chat.create(model="other", messages=MESSAGES, stream=streaming)
                assert caught.value.param == "model"

    async with serving(live_worker, model):
        await asyncio.to_thread(ask)


async def ask_step_by_step(
    client: httpx.AsyncClient, worker: FakeWorker, *request: Any, **body: Any
) -> Any:
    """A request under way and the job it has become."""
    answer = asyncio.create_task(client.request(*request, **body))
    while not (jobs := await worker.take()):
        assert not answer.done(), answer.result().text
    return answer, jobs[0]


@pytest.mark.parametrize(
    ("request_", "body", "job_input"),
    [
        (("GET", "models"), {}, {"openai_route": "/v1/models"}),
        (("GET", "models/a%2Fb?x=1&y=%20"), {}, {"openai_route": "/v1/models/a%2Fb?x=1&y=%20"}),
        (
            ("POST", "chat/completions"),
            {"content": b'{"n": 1}'},
            {"openai_route": "/v1/chat/completions", "openai_input": {"n": 1}},
        ),
        (("POST", "x"), {"content": b"{}"}, {"route": "/v1/x", "method": "POST", "body": {}}),
        (("POST", "x?a=b"), {}, {"route": "/v1/x?a=b", "method": "POST", "body": None}),
        (("POST", "x"), {"json": [1]}, {"route": "/v1/x", "method": "POST", "body": [1]}),
        (("DELETE", "x"), {}, {"route": "/v1/x", "method": "DELETE", "body": None}),
        (("PUT", "x"), {"json": {"a": 1}}, {"route": "/v1/x", "method": "PUT", "body": {"a": 1}}),
        (("GET", "x"), {"json": {"a": 1}}, {"route": "/v1/x", "method": "GET", "body": {"a": 1}}),
    ],
)
async def test_a_request_becomes_a_job(
    http_client: httpx.AsyncClient,
    fake_worker: FakeWorker,
    request_: Any,
    body: Any,
    job_input: Any,
) -> None:
    method, path = request_
    for prefix in ("http://x/v2/openai/openai/v1", "http://x/openai/v1"):
        answer, job = await ask_step_by_step(
            http_client, fake_worker, method, f"{prefix}/{path}", **body
        )
        assert job["input"] == job_input
        await fake_worker.done(job["id"], output=[{"ok": 1}])
        assert (await answer).json() == {"ok": 1}
        assert (await answer).headers["x-job-id"] == job["id"]


@pytest.mark.parametrize(
    ("output", "content_type", "text"),
    [
        ([{"a": "ü"}], "application/json", '{"a":"ü"}'),
        (["text ü"], "text/plain; charset=utf-8", "text ü"),
        ({"a": 1}, "application/json", '{"a":1}'),
        ([1, 2], "application/json", "[1,2]"),
        ([], None, ""),
    ],
)
async def test_the_output_becomes_the_body(
    http_client: httpx.AsyncClient,
    fake_worker: FakeWorker,
    output: Any,
    content_type: str,
    text: str,
) -> None:
    answer, job = await ask_step_by_step(http_client, fake_worker, "GET", "openai/v1/x")
    await fake_worker.done(job["id"], output=output)
    assert (await answer).status_code == 200
    assert (await answer).headers.get("content-type") == content_type
    assert (await answer).text == text


async def test_a_worker_that_does_not_aggregate_is_understood(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    answer, job = await ask_step_by_step(http_client, fake_worker, "GET", "openai/v1/x")
    await fake_worker.stream(job["id"], {"a": 1})
    await fake_worker.done(job["id"], output=[])
    assert (await answer).json() == {"a": 1}


@pytest.mark.parametrize("body", [{}, STREAM])
@pytest.mark.parametrize("code", [400, 404, 422, 503])
async def test_a_failed_job_has_its_errors_status(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, body: Any, code: int
) -> None:
    answer, job = await ask_step_by_step(http_client, fake_worker, "POST", "openai/v1/x", json=body)
    await fake_worker.done(job["id"], **failure(code))
    assert (await answer).status_code == code
    assert (await answer).json() == {"error": json.loads(failure(code)["error"])}
    assert (await answer).headers["x-job-id"] == job["id"]


@pytest.mark.parametrize("error", ["handler: x \ntraceback: /secret", '"text"', '{"code": 200}'])
async def test_an_error_without_a_status_is_500(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, error: Any
) -> None:
    answer, job = await ask_step_by_step(http_client, fake_worker, "POST", "openai/v1/x", json={})
    await fake_worker.done(job["id"], error=error)
    assert (await answer).status_code == 500
    assert "secret" not in (await answer).text
    assert isinstance((await answer).json()["error"], dict)


async def test_a_job_ended_by_the_endpoint_has_a_status_too(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock, queue: JobQueue
) -> None:
    for end, code in (
        (lambda job_id: clock.advance(601), 504),
        (lambda job_id: queue.cancel(queue.find(job_id), "by another client"), 499),
    ):
        answer, job = await ask_step_by_step(
            http_client, fake_worker, "POST", "openai/v1/x", json={}
        )
        end(job["id"])
        assert (await answer).status_code == code
        assert (await answer).json()["error"]["code"] == code


async def test_what_cannot_be_a_job_is_refused(http_client: httpx.AsyncClient) -> None:
    too_large = b'"' + b"x" * Limits().runsync_bytes
    for code, request in (
        (400, {"content": b"{"}),
        (400, {"data": {"a": "form"}}),
        (400, {"content": b"--", "headers": {"content-type": "multipart/form-data"}}),
        (400, {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}}),
        (400, {"files": [("file", b"x"), ("file", b"y")]}),
        (413, {"content": too_large}),
    ):
        answer = await http_client.post("openai/v1/x", **request)
        assert answer.status_code == code
        assert answer.json()["error"]["code"] == code


async def read_until(lines: AsyncIterator[str], wanted: str) -> None:
    async for line in lines:
        if line == wanted:
            return
    pytest.fail(f"{wanted} never came")


async def test_a_chunk_is_sent_when_it_is_there(
    live: httpx.AsyncClient, live_worker: FakeWorker, live_queue: JobQueue
) -> None:
    taking = asyncio.create_task(live_worker.take())

    async def post_first() -> None:
        [job] = await taking
        await live_worker.stream(job["id"], "data: 1\n\n")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(post_first())
        async with live.stream("POST", "openai/v1/x", json=STREAM) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-cache"
            job = live_queue.find(answer.headers["x-job-id"])
            lines = answer.aiter_lines()
            await read_until(lines, "data: 1")
            await live_worker.stream(job.id, "data: 2\n\n")
            await read_until(lines, "data: 2")
            assert job.chunks == []  # delivered, so dropped
            await live_worker.done(job.id, output=["data: 1\n\n", "data: 2\n\n"])
            assert [line async for line in lines if line] == []


@pytest.mark.parametrize("by_endpoint", [True, False])
async def test_a_failure_in_mid_stream(
    live: httpx.AsyncClient, live_worker: FakeWorker, by_endpoint: bool
) -> None:
    taking = asyncio.create_task(live_worker.take())
    first_seen = asyncio.Event()

    async def work() -> None:
        [job] = await taking
        await live_worker.stream(job["id"], "data: 1\n\n")
        await first_seen.wait()
        if by_endpoint:
            await live.post(f"cancel/{job['id']}")
        else:
            await live_worker.done(job["id"], **failure(500))

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(work())
        async with live.stream("POST", "openai/v1/x", json=STREAM) as answer:
            lines = answer.aiter_lines()
            await read_until(lines, "data: 1")
            first_seen.set()
            rest = [line async for line in lines if line]
    if by_endpoint:
        [event] = rest
        assert json.loads(event.removeprefix("data: "))["error"]["code"] == 499
    else:
        assert rest == []  # the worker's own chunks have said what failed


@pytest.mark.parametrize("body", [{}, STREAM])
@pytest.mark.parametrize("after_a_chunk", [False, True])
async def test_a_client_that_goes_cancels_its_job(
    live: httpx.AsyncClient,
    live_url: str,
    live_worker: FakeWorker,
    live_queue: JobQueue,
    body: Any,
    after_a_chunk: Any,
) -> None:
    async def ask() -> None:
        async with (
            httpx.AsyncClient(base_url=live_url, verify=False) as client,
            client.stream("POST", "openai/v1/x", json=body) as answer,
        ):
            await answer.aread()

    asking = asyncio.create_task(ask())
    [job] = await live_worker.take()
    if after_a_chunk:
        await live_worker.stream(job["id"], "data: 1\n\n")
    await asyncio.sleep(0.03)
    assert (await live.get(f"status/{job['id']}")).json()["status"] == "IN_PROGRESS"
    asking.cancel()
    assert await live_worker.stops() == [job["id"]]
    assert (await live.get(f"status/{job['id']}")).json()["status"] == "CANCELLED"


async def test_a_form_becomes_a_job(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    fields = {"model": "m", "timestamp_granularities[]": ["word", "segment"], "stream": "false"}
    request = {"data": fields, "files": {"file": ("talk.wav", b"\x00\xff" * 700_000)}}
    answer, job = await ask_step_by_step(
        http_client, fake_worker, "POST", "openai/v1/audio", **request
    )
    body = job["input"]["openai_input"]
    assert base64.b64decode(body["file"].pop("data")) == b"\x00\xff" * 700_000
    assert body == fields | {"file": {"filename": "talk.wav"}}
    answer.cancel()


async def test_headers_that_vllm_knows_go_with_the_job(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    headers = {"X-Request-Id": "mine", "Authorization": "Bearer secret"}
    answer, job = await ask_step_by_step(
        http_client, fake_worker, "POST", "openai/v1/x", json={"a": 1}, headers=headers
    )
    assert job["input"]["openai_headers"] == {"x-request-id": "mine"}
    answer.cancel()


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models", "/v2/any/openai/v1/models"])
async def test_the_base_url_of_other_local_servers_works_too(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, path: str
) -> None:
    answer = asyncio.create_task(http_client.get(f"http://x{path}"))
    (job,) = await fake_worker.take()
    assert job["input"] == {"openai_route": "/v1/models"}
    answer.cancel()
    root = (await http_client.get("http://x/")).json()
    assert root["openai"] == "/v1"
    page = await http_client.get("http://x/", headers={"accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>vLLM worker</title>" in page.text


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/api/chat", "/v2/local/v1/chat/completions", "/v2/local/models"]
)
async def test_a_client_with_a_wrong_base_url_is_told_the_right_one(
    live_url: str, path: str
) -> None:
    base_url = live_url.removesuffix("/v2/local")
    async with openai.AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.post(path, cast_to=object, body={})
    assert f"There is no {path} here. The base URL of OpenAI's clients is {base_url}/v1" in str(
        caught.value
    )
    assert caught.value.body["code"] == 404


async def test_anthropics_clients_read_errors_in_their_own_form(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    for path in ("openai/v1/messages", "http://x/v1/messages/count_tokens"):
        answer, job = await ask_step_by_step(http_client, fake_worker, "POST", path, json={})
        await fake_worker.done(job["id"], **failure(404))
        error = {"type": "not_found_error", "message": "no such model"}
        assert (await answer).json() == {"type": "error", "error": error}
    refused = await http_client.post("openai/v1/messages", content=b"{")
    assert refused.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("headers", [{}, {"X-Request-Id": "mine"}])
async def test_an_answer_has_the_name_of_its_request(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, headers: dict[str, str]
) -> None:
    answer, job = await ask_step_by_step(
        http_client, fake_worker, "POST", "openai/v1/x", json={}, headers=headers
    )
    await fake_worker.done(job["id"], output=[{"a": 1}])
    assert (await answer).headers["x-request-id"] == headers.get("X-Request-Id", job["id"])
