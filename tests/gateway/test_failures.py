"""One of two providers is killed while it answers, and comes back."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.gateway.running import running_gateway
from tests.support.http_worker import KEY, free_port, wait_for_status
from tests.support.worker_process import WorkerProcess

pytestmark = pytest.mark.slow
FILE = """
port: 0
providers:
  stays: {{url: {stays}/v1, key: HTTP_KEY}}
  dies: {{url: {dies}/v1, key: HTTP_KEY}}
models:
  default/both: [{{provider: stays, model: demo}}, {{provider: dies, model: demo}}]
"""
_STREAMS = 32
_PATIENCE_S = 60


@dataclass(frozen=True)
class Streamed:
    provider: str
    events: list[str]

    @property
    def is_whole(self) -> bool:
        return self.events[-1] == "data: [DONE]"

    @property
    def is_failed(self) -> bool:
        return self.events[-1].startswith('data: {"error"')


async def stream(client: httpx.AsyncClient, begun: asyncio.Semaphore, tokens: int) -> Streamed:
    """Releases `begun` at the first event."""
    messages = [{"role": "user", "content": "x"}]
    body = {"model": "default/both", "messages": messages, "stream": True, "ignore_eos": True}
    path, events = "/v1/chat/completions", list[str]()
    async with client.stream("POST", path, json=body | {"max_tokens": tokens}) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line:
                if not events:
                    begun.release()
                events.append(line)
    return Streamed(answer.headers["x-provider"], events)


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, trust_env=False, timeout=_PATIENCE_S, limits=limits
    ) as client:
        yield client


def start(port: int) -> WorkerProcess:
    environment = {"RUNPOD_ENDPOINT_ID": "e", "HOST": "127.0.0.1", "API_KEY": KEY}
    return WorkerProcess(environment | {"PORT": str(port)})


async def kill_while_it_answers(url: str, victim: WorkerProcess) -> list[Streamed]:
    """What became of streams that had begun when a provider was killed, and of later ones."""
    begun = asyncio.Semaphore(0)
    async with asking(url) as client:
        early = [asyncio.create_task(stream(client, begun, 900)) for _ in range(_STREAMS)]
        for _ in early:
            await asyncio.wait_for(begun.acquire(), _PATIENCE_S)
        os.killpg(victim.process.pid, signal.SIGKILL)
        late = [asyncio.create_task(stream(client, begun, 20)) for _ in range(_STREAMS)]
        return await asyncio.wait_for(asyncio.gather(*early, *late), 2 * _PATIENCE_S)


async def providers_of(url: str, requests: int) -> set[str]:
    async with asking(url) as client:
        begun = asyncio.Semaphore(0)
        answers = [await stream(client, begun, 1) for _ in range(requests)]
    return {answer.provider for answer in answers}


def test_a_provider_that_is_killed_and_comes_back(
    workers: dict[str, tuple[WorkerProcess, str]], tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    victim = start(port)
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(stays=workers["http"][1], dies=url))
    try:
        wait_for_status(victim, url, 200)
        with running_gateway(file, os.environ | {"HTTP_KEY": KEY}) as gateway:
            answers = asyncio.run(kill_while_it_answers(gateway.url, victim))
            victim.exit_code()
            early, late = answers[:_STREAMS], answers[_STREAMS:]
            assert {answer.provider for answer in early} == {"stays", "dies"}
            for answer in early:
                assert answer.is_whole if answer.provider == "stays" else answer.is_failed
            assert all(answer.is_whole for answer in late)

            victim = start(port)
            wait_for_status(victim, url, 200)
            deadline = time.monotonic() + _PATIENCE_S
            while "dies" not in asyncio.run(providers_of(gateway.url, 4)):
                assert time.monotonic() < deadline
            assert "Traceback" not in gateway.log
    finally:
        victim.stop()
