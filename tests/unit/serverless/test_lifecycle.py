"""The worker's life inside the SDK's loop."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.support.fake_engine import FakeEngine
from vllm_worker.configuration.settings import load_settings
from vllm_worker.serverless.lifecycle import Lifecycle, also_on_shutdown, run_lifecycle
from vllm_worker.serverless.queue import Queue
from vllm_worker.serverless.readiness import ConcurrencyModifier
from vllm_worker.worker import Worker


def worker(engine: FakeEngine) -> Worker:
    return Worker(load_settings({"MAX_CONCURRENCY": "7"}), engine)


@pytest.fixture
def signals_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_restored")
def test_a_shutdown_also_closes_the_queue() -> None:
    calls = []
    signal.signal(signal.SIGTERM, lambda *_: calls.append("the SDK's"))
    also_on_shutdown(lambda: calls.append("ours"))
    signal.raise_signal(signal.SIGTERM)
    assert calls == ["ours", "the SDK's"]


@pytest.mark.usefixtures("signals_restored")
async def test_no_job_is_wanted_before_the_engine_has_started() -> None:
    engine = FakeEngine()
    subject = worker(engine)
    concurrency = ConcurrencyModifier(Lifecycle(subject, Queue(lambda: None)))
    assert concurrency(1) == 0
    assert not engine.started
    await asyncio.sleep(0.01)
    assert engine.started
    assert concurrency(0) == concurrency(7) == 7


async def test_a_start_that_fails_ends_the_process_with_code_1() -> None:
    class Unlucky(FakeEngine):
        async def start(self) -> None:
            raise RuntimeError("no memory")

    with pytest.raises(SystemExit) as raised:
        await run_lifecycle(worker(Unlucky()), Queue(lambda: None))
    assert raised.value.code == 1


@pytest.mark.usefixtures("signals_restored")
async def test_the_worker_is_started_once_however_often_it_is_asked_for() -> None:
    engine = FakeEngine()
    lifecycle = Lifecycle(worker(engine), Queue(lambda: None))
    lifecycle.ensure_started()
    lifecycle.ensure_started()
    await asyncio.sleep(0.01)
    assert engine.starts == 1


@pytest.mark.usefixtures("signals_restored")
async def test_the_worker_ends_with_its_local_endpoint(
    worker_log: pytest.LogCaptureFixture,
) -> None:
    signalled = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: signalled.set())
    ended = [False]
    queue = Queue(lambda: None, has_ended=lambda: ended[0])
    life = asyncio.create_task(run_lifecycle(worker(FakeEngine()), queue))
    await asyncio.sleep(0.01)
    assert not signalled.is_set()
    ended[0] = True
    await asyncio.wait_for(signalled.wait(), 5)
    assert "the local endpoint has ended, and so does its worker" in worker_log.messages
    life.cancel()
