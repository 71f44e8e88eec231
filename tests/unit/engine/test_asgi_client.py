import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from vllm_worker.engine import asgi_client


async def echo(request: Request) -> JSONResponse:
    body = (await request.body()).decode()
    asked = {"path": request.url.path, "query": dict(request.query_params), "body": body}
    return JSONResponse(asked | {"header": request.headers.get("x-test")}, status_code=201)


async def broken(request: Request) -> JSONResponse:
    raise RuntimeError("no luck")


def app(*routes: Route) -> Starlette:
    return Starlette(routes=list(routes))


async def test_a_request_arrives_whole_and_is_answered() -> None:
    echo_app = app(Route("/a b/{rest}", echo, methods=["POST"]))
    response = await asgi_client.request(
        echo_app, "POST", "/a%20b/c?x=1&y=2", b"hi", {"X-Test": "yes"}
    )
    assert response.status == 201
    assert response.headers["content-type"] == "application/json"
    assert await response.read() == (
        b'{"path":"/a b/c","query":{"x":"1","y":"2"},"body":"hi","header":"yes"}'
    )
    await response.aclose()


async def test_closing_disconnects_the_application() -> None:
    ended = asyncio.Event()

    async def endless(request: Request) -> StreamingResponse:
        async def body() -> Any:
            try:
                while True:
                    yield b"x"
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

        return StreamingResponse(body())

    response = await asgi_client.request(app(Route("/", endless)), "GET", "/", b"", {})
    assert await anext(response.parts()) == b"x"
    await response.aclose()
    await asyncio.wait_for(ended.wait(), timeout=1)


async def test_what_the_application_raises_before_its_answer_is_raised() -> None:
    async def raw_app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        await asgi_client.request(raw_app, "GET", "/", b"", {})


async def test_what_the_application_raises_in_its_answer_is_raised_to_the_reader() -> None:
    async def raw_app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError("no luck")

    response = await asgi_client.request(raw_app, "GET", "/", b"", {})
    parts = response.parts()
    assert await anext(parts) == b"part"
    with pytest.raises(RuntimeError, match="no luck"):
        await anext(parts)
    await response.aclose()


async def test_what_the_application_raises_after_its_answer_does_not_matter() -> None:
    response = await asgi_client.request(
        Starlette(routes=[Route("/", broken)], exception_handlers={Exception: apologise}),
        "GET", "/", b"", {},
    )  # fmt: skip
    assert response.status == 500
    assert await response.read() == b'"sorry"'
    await response.aclose()


async def apologise(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse("sorry", status_code=500)


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    async def raw_app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})

    response = await asgi_client.request(raw_app, "GET", "/", b"", {})
    with pytest.raises(ConnectionError, match="in the middle"):
        await response.read()


async def test_a_cancelled_request_leaves_no_task() -> None:
    hung = asyncio.Event()

    async def hanging_app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        hung.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.create_task(asgi_client.request(hanging_app, "GET", "/", b"", {}))
    await hung.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
