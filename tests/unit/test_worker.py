import asyncio
import json
import time
from typing import Any

import pytest

from tests.support.fake_engine import FakeEngine, words
from vllm_worker.configuration.settings import load_settings
from vllm_worker.errors import EngineFailure
from vllm_worker.worker import Worker


def worker(engine: FakeEngine) -> Worker:
    return Worker(load_settings({"MAX_CONCURRENCY": "7"}), engine)


async def outputs(worker: Worker, job_input: Any) -> list[Any]:
    return [output async for output in worker.handle({"id": "job-1", "input": job_input})]


def error(output: Any) -> dict[str, Any]:
    assert output.keys() == {"error"}
    return json.loads(output["error"])


async def test_a_good_job_is_answered() -> None:
    (output,) = await outputs(worker(FakeEngine(words("Hi"))), {"prompt": "x"})
    assert output["choices"][0]["tokens"] == ["Hi"]


async def test_bad_input_is_an_error_output() -> None:
    (output,) = await outputs(worker(FakeEngine()), {"prompt": 5})
    assert error(output)["code"] == 400


async def test_a_failure_after_chunks_comes_after_them() -> None:
    engine = FakeEngine([*words("a", finish_reason=None), EngineFailure("broke")])
    chunk, failure, last = await outputs(worker(engine), {"prompt": "x", "stream": True})
    assert chunk["choices"][0]["tokens"] == ["a"]
    assert error(last)["message"] == "broke"
    assert failure == {"choices": [], "failure": error(last)}


async def test_a_stream_that_is_refused_has_its_error_in_a_chunk_that_can_be_posted() -> None:
    job_input = {"stream": True, "\ud800romp": 1, "promp\ud800": 2}
    chunk, last = await outputs(worker(FakeEngine()), job_input)
    assert chunk["failure"]["code"] == error(last)["code"] == 400
    json.dumps(chunk, ensure_ascii=False).encode()


async def test_an_unexpected_error_tells_neither_client_nor_log_what_it_quotes(
    worker_log: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine([KeyError("the user's words")])
    (output,) = await outputs(worker(engine), {"prompt": "x"})
    assert error(output)["code"] == 500
    assert "user's words" not in output["error"] + worker_log.text
    assert "job-1 failed: KeyError in generate (fake_engine.py:" in worker_log.text


async def test_an_output_that_is_too_large_fails_the_job_and_ends_it_in_the_engine() -> None:
    engine = FakeEngine(words(*["0123456789"] * 200))
    subject = Worker(load_settings({"MAX_OUTPUT_BYTES": "1000"}), engine)
    *chunks, failure, last = await outputs(subject, {"prompt": "x", "stream": True})
    assert failure["failure"]["code"] == 413
    assert len(json.dumps(chunks)) < 1100
    assert error(last)["code"] == 413
    assert "larger than 1,000 bytes" in error(last)["message"]
    await asyncio.sleep(0.02)
    assert not engine.running


async def test_a_text_that_json_cannot_carry_fails_the_job_instead_of_losing_it() -> None:
    (output,) = await outputs(worker(FakeEngine(words("\ud800"))), {"prompt": "x"})
    assert error(output)["code"] == 500


async def test_each_job_has_one_line_in_the_log(worker_log: pytest.LogCaptureFixture) -> None:
    subject = worker(FakeEngine(words("a", "b"), pause=0.01))
    for job_input in ({"prompt": "secret"}, {"prompt": 5}, {"route": "/v1/secret"}):
        await asyncio.create_task(outputs(subject, job_input))
    cancelled = asyncio.create_task(outputs(subject, {"prompt": "secret"}))
    await asyncio.sleep(0.005)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    lines = [
        r.getMessage() for r in worker_log.records if r.name == "vllm_worker.observability.job_log"
    ]
    assert [line.partition(",")[0] for line in lines] == [
        "job job-1: native",
        "job job-1: unreadable",
        "job job-1: no open route",
        "job job-1: native",
    ]
    outcomes = ["completed", "failed with 400", "failed with 404", "cancelled"]
    assert [line.rpartition(", ")[2] for line in lines] == outcomes
    assert "secret" not in worker_log.text


async def test_an_engine_that_does_not_answer_is_given_up_when_jobs_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vllm_worker.worker._PING_S", 0.01)
    engine = FakeEngine(words("a"), pause=60)
    engine.silence = 60
    subject = Worker(load_settings({"ENGINE_STALL_TIMEOUT_S": "0.05"}), engine)
    death = asyncio.create_task(subject.wait_for_end())
    await asyncio.sleep(0.4)
    assert not death.done()  # nobody waits
    job = asyncio.create_task(outputs(subject, {"prompt": "x"}))
    await death
    assert engine.dead
    job.cancel()


async def test_when_the_engine_is_dead_a_failure_says_to_try_again() -> None:
    engine = FakeEngine([EngineFailure("broke")])
    engine.dead = True
    (output,) = await outputs(worker(engine), {"prompt": "x"})
    assert error(output)["code"] == 503


async def test_a_job_ends_in_the_engine_when_its_task_is_cancelled() -> None:
    engine = FakeEngine(words(*"abcdefgh"), pause=0.01)
    task = asyncio.create_task(outputs(worker(engine), {"prompt": "x", "stream": True}))
    await asyncio.sleep(0.02)
    assert engine.running == {"job-1"}
    task.cancel()
    await asyncio.sleep(0.02)
    assert not engine.running


async def test_drain_waits_for_the_jobs_in_flight() -> None:
    subject = worker(FakeEngine(words("a"), pause=0.4))
    task = asyncio.create_task(outputs(subject, {"prompt": "x"}))
    await asyncio.sleep(0)
    await subject.drain()
    assert task.done()


async def test_time_in_which_the_whole_worker_is_frozen_is_no_stall(
    worker_log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RunPod freezes an idle worker's processes and thaws them later; the clock goes on."""
    monkeypatch.setattr("vllm_worker.worker._PING_S", 0.3)
    engine = FakeEngine(words("a"), pause=1.5)
    engine.silence = 1.0  # until a moment after the thaw
    subject = Worker(load_settings({"ENGINE_STALL_TIMEOUT_S": "0.3"}), engine)
    job = asyncio.create_task(outputs(subject, {"prompt": "x"}))
    ending = asyncio.create_task(subject.wait_for_end())
    await asyncio.sleep(0.35)  # a ping has begun
    time.sleep(0.8)
    (output,) = await job
    assert output["choices"][0]["tokens"] == ["a"]
    ending.cancel()
    assert "no answer from the engine" not in worker_log.text


async def test_a_worker_holds_as_many_jobs_as_the_engine_can_run_where_that_is_asked_for() -> None:
    assert Worker(load_settings({}), FakeEngine()).max_concurrency == 300
    assert Worker(load_settings({"MAX_CONCURRENCY": "Auto"}), FakeEngine()).max_concurrency == 7
