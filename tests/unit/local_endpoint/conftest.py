"""The endpoint for tests: without a socket and with a clock to set, or with both real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.support.endpoint_fakes import FakeWorker, ManualClock
from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.limits import Limits
from vllm_worker.local_endpoint.server import EndpointServer
from vllm_worker.web.listener import listen

LONG_HOLDS = Limits(
    stream_hold_s=60, poll_hold_s=60, closing_hold_s=0.01
)  # longer than the client's patience
SHORT_HOLDS = Limits(stream_hold_s=0.02, poll_hold_s=0.02, closing_hold_s=0.01)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> JobQueue:
    return JobQueue(SHORT_HOLDS, clock)


@pytest.fixture
async def http_client(queue: JobQueue) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application itself, for what needs no socket."""
    transport = httpx.ASGITransport(app=create_app(queue))
    async with httpx.AsyncClient(transport=transport, base_url="http://x/v2/local") as client:
        yield client


@pytest.fixture
def fake_worker(http_client: httpx.AsyncClient) -> FakeWorker:
    return FakeWorker(http_client, "worker-1")


@pytest.fixture
def live_queue() -> JobQueue:
    return JobQueue(LONG_HOLDS)


@pytest.fixture
async def live_url(live_queue: JobQueue) -> AsyncIterator[str]:
    """The URL of an endpoint on a socket, in real time; its polls end with news only."""
    listener = listen("127.0.0.1", 0)
    server = EndpointServer(live_queue)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2/local"
    # Not through its own exit, which takes a fifth of a second: test_endpoint_process.py has that.
    serving.cancel()
    await asyncio.wait([serving])
    for listening in server.servers:
        listening.close()


@pytest.fixture
async def live(live_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live_url, timeout=5, verify=False) as client:
        yield client


@pytest.fixture
def live_worker(live: httpx.AsyncClient) -> FakeWorker:
    return FakeWorker(live, "live-worker")


@pytest.fixture
def serving() -> Any:
    """`async with serving(worker, handler):` a worker that works for as long as the block."""

    @asynccontextmanager
    async def serving(worker: FakeWorker, handler: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(worker.serve(handler))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return serving
