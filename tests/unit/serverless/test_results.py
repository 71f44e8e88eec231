"""What becomes of a result that RunPod refuses."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from runpod.serverless.modules import rp_http

from vllm_worker.serverless import results

LIMIT = 1000


class Platform:
    """Takes bodies up to LIMIT bytes, and answers `status` to larger ones."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.bodies: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.bodies.append(body)
        return web.Response(status=200 if len(body) <= LIMIT else self.status)


@pytest_asyncio.fixture(params=[400, 413])
async def platform(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Platform]:
    platform = Platform(request.param)
    app = web.Application()
    app.router.add_post("/{path:.*}", platform.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    platform.url = site.name
    monkeypatch.setattr(rp_http, "JOB_DONE_URL", f"{site.name}/job-done/$ID")
    yield platform
    await runner.cleanup()


async def test_a_result_that_is_refused_fails_the_job_with_a_reason(platform: Platform) -> None:
    async with aiohttp.ClientSession() as session:
        result = json.dumps({"output": "x" * LIMIT})
        await results.transmit(session, f"{platform.url}/job-done/1", result)
    whole, failure = platform.bodies
    assert whole == result
    error = json.loads(json.loads(failure)["error"])
    assert error["code"] == 413
    assert f"1,014 bytes, with status {platform.status}" in error["message"]


async def test_a_chunk_that_is_refused_is_left_to_the_result(platform: Platform) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await results.transmit(session, f"{platform.url}/job-stream/1", "x" * (LIMIT + 1))
    assert len(platform.bodies) == 1
