"""Audio inside a job: its forms, its limits, and what it cannot reach."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from vllm_worker.configuration.settings import load_settings
from vllm_worker.errors import BadRequest, TooLarge
from vllm_worker.jobs import audio, public_fetch
from vllm_worker.jobs.audio import read_audio
from vllm_worker.jobs.inputs import OpenAIJob
from vllm_worker.routes.allowlist import open_route
from vllm_worker.routes.openai_request import prepare

TRANSCRIPTIONS = open_route("/v1/audio/transcriptions")
CONTENT = b"RIFF\x00\xff audio"
TEXT = base64.b64encode(CONTENT).decode()


async def read(file: Any, max_bytes: int = 1000) -> tuple[str, bytes]:
    return await read_audio(file, max_bytes, timeout_s=1)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (TEXT, "audio"),
        (f"{TEXT[:8]}\r\n{TEXT[8:]}\n", "audio"),
        (f"data:audio/wav;base64,{TEXT}", "audio"),
        ({"data": TEXT}, "audio"),
        ({"data": TEXT, "filename": ""}, "audio"),
        ({"data": TEXT, "filename": None}, "audio"),
        ({"data": f"data:;base64,{TEXT}", "filename": "talk.wav"}, "talk.wav"),
    ],
)
async def test_the_forms_of_a_file(file: Any, name: str) -> None:
    assert await read(file) == (name, CONTENT)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (5, "file should be base64 text, a data URL, an https URL, or"),
        ("", "file should be base64 text"),
        ({"filename": "x"}, "file should be base64 text"),
        ({"data": TEXT, "filename": 5}, "file.filename should be a string"),
        ("not base64!", "file is not base64"),
        (TEXT[:-1], "file is not base64"),
        ("ü" * 8, "file is not base64"),
        ("data:audio/wav,abc", "must be a data URL of the form"),
        ("http://example.com/x", "must be an https:// URL"),
        ("file:///etc/passwd", "file is not base64"),
        ("https://", "could not be fetched"),
        ("https://nobody.invalid/x", "could not be fetched"),
    ],
)
async def test_what_is_no_file(file: Any, says: str) -> None:
    with pytest.raises(BadRequest) as raised:
        await read(file)
    assert says in raised.value.message
    assert "passwd" not in raised.value.message


async def test_the_limit_is_of_what_is_decoded() -> None:
    assert await read(TEXT, max_bytes=len(CONTENT))
    with pytest.raises(TooLarge, match=f"larger than {len(CONTENT) - 1} bytes"):
        await read(TEXT, max_bytes=len(CONTENT) - 1)


class Server:
    """Serves CONTENT at /audio, and what else a URL may lead to; counts who comes."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        match request.path:
            case "/audio":
                return web.Response(body=CONTENT)
            case "/moved":
                raise web.HTTPFound("/audio")
            case "/moved-away":
                raise web.HTTPFound("http://169.254.169.254/latest")
            case "/round":
                raise web.HTTPFound("/round")
            case "/slow":
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(50):
                    await response.write(b"x")
                    await asyncio.sleep(0.05)
                return response
        raise web.HTTPNotFound


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/{path}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    server.url = f"http://{host}:{port}"
    yield server
    await runner.cleanup()


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    public = public_fetch.is_public
    monkeypatch.setattr(public_fetch, "is_public", lambda ip: ip == "127.0.0.1" or public(ip))


@pytest.mark.usefixtures("loopback_is_public")
async def test_a_file_is_fetched_through_redirects(server: Server) -> None:
    for path in ("audio", "moved"):
        assert await audio._fetch(f"{server.url}/{path}", 1000, 5) == CONTENT


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nothing", "status 404"),
        ("round", "could not be fetched"),
        ("moved-away", "public address"),
        ("slow", "within 0.3 s"),
    ],
)
async def test_what_cannot_be_fetched(server: Server, path: str, says: str) -> None:
    with pytest.raises(BadRequest) as raised:
        await audio._fetch(f"{server.url}/{path}", 1000, 0.3)
    assert says in raised.value.message
    assert "127.0.0.1" not in raised.value.message


@pytest.mark.usefixtures("loopback_is_public")
async def test_a_fetched_file_has_the_same_limit(server: Server) -> None:
    with pytest.raises(TooLarge):
        await audio._fetch(f"{server.url}/audio", len(CONTENT) - 1, 5)


async def test_nothing_is_fetched_from_within(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0",
             "0x7f.1", "169.254.169.254", "10.0.0.1"]  # fmt: skip
    for host in hosts:
        for scheme in ("http", "https"):
            with pytest.raises(BadRequest, match="could not be fetched from a public address"):
                await audio._fetch(f"{scheme}://{host}:{port}/audio", 1000, 5)
    assert server.requests == 0


async def test_the_form_that_vllm_gets() -> None:
    body = {
        "file": {"data": TEXT, "filename": "talk.wav"},
        "model": "m", "temperature": 0.5, "stream": False, "prompt": None,
        "timestamp_granularities": ["word", "segment"], "stream_options": {"a": 1},
    }  # fmt: skip
    job = OpenAIJob(route="/v1/audio/transcriptions", body=body)
    request = (await prepare(job, TRANSCRIPTIONS, "id", load_settings({}))).request
    form = await web_form(request.headers["content-type"], request.content)
    assert form == [
        ("file", ("talk.wav", CONTENT)),
        ("model", "m"),
        ("temperature", "0.5"),
        ("stream", "false"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("stream_options", '{"a": 1}'),
    ]


async def test_a_field_that_no_form_can_hold() -> None:
    job = OpenAIJob(route="/v1/audio/transcriptions", body={"file": TEXT, "x": ["a"]})
    with pytest.raises(BadRequest, match="x should be a single value, not an array"):
        await prepare(job, TRANSCRIPTIONS, "id", load_settings({}))
    with pytest.raises(BadRequest, match="file is missing"):
        job = OpenAIJob(route=job.route, body={"a": 1})
        await prepare(job, TRANSCRIPTIONS, "id", load_settings({}))


async def web_form(content_type: str, content: bytes) -> list[tuple[str, Any]]:
    """The form as a server reads it."""
    from starlette.datastructures import Headers
    from starlette.formparsers import MultiPartParser

    async def stream() -> AsyncGenerator[bytes]:
        yield content

    form = await MultiPartParser(Headers({"content-type": content_type}), stream()).parse()
    items = [
        (name, value if isinstance(value, str) else (value.filename, await value.read()))
        for name, value in form.multi_items()
    ]
    await form.close()
    return items
