"""What RunPod's clients call, step by step against a fake worker."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.endpoint_fakes import FakeWorker, ManualClock
from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.limits import Limits

JOB = {"input": {"prompt": "hello"}}


async def submit(client: httpx.AsyncClient, **more: object) -> str:
    return (await client.post("run", json=JOB | more)).json()["id"]


async def status(client: httpx.AsyncClient, job_id: str) -> str:
    return (await client.get(f"status/{job_id}")).json()["status"]


async def test_a_job_from_run_to_its_result(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    queued = (await http_client.post("run", json=JOB)).json()
    job_id = queued["id"]
    assert queued == {"id": job_id, "status": "IN_QUEUE"}

    clock.advance(1.5)
    assert await fake_worker.take() == [{"id": job_id, "input": {"prompt": "hello"}}]
    assert (await http_client.get(f"status/{job_id}")).json() == {
        "id": job_id,
        "status": "IN_PROGRESS",
        "delayTime": 1500,
        "workerId": "worker-1",
    }

    clock.advance(0.25)
    await fake_worker.done(job_id, output=["a", "b"])
    for method in ("GET", "POST"):
        assert (await http_client.request(method, f"status/{job_id}")).json() == {
            "id": job_id,
            "status": "COMPLETED",
            "delayTime": 1500,
            "executionTime": 250,
            "workerId": "worker-1",
            "output": ["a", "b"],
        }


async def test_runsync_waits_for_the_result(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    answer = asyncio.create_task(http_client.post("runsync", json=JOB))
    while not (jobs := await fake_worker.take()):
        pass
    assert not answer.done()
    await fake_worker.done(jobs[0]["id"], output="text")
    result = (await answer).json()
    assert result["id"].startswith("sync-")
    assert (result["status"], result["output"]) == ("COMPLETED", "text")


async def test_runsync_answers_after_wait_with_the_state_it_has(
    http_client: httpx.AsyncClient,
) -> None:
    assert (await http_client.post("runsync?wait=10", json=JOB)).json()["status"] == "IN_QUEUE"
    assert (await http_client.post("runsync?wait=soon", json=JOB)).status_code == 400


async def test_stream_gives_each_chunk_once(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    job_id = await submit(http_client)
    await fake_worker.take()
    await fake_worker.stream(job_id, "a")
    await fake_worker.stream(job_id, "a")  # equal chunks are two chunks
    answer = (await http_client.get(f"stream/{job_id}")).json()
    assert answer == {"status": "IN_PROGRESS", "stream": [{"output": "a"}, {"output": "a"}]}

    await fake_worker.stream(job_id, {"b": 1})
    await fake_worker.done(job_id, output=["a", "a", {"b": 1}])
    answer = (await http_client.post(f"stream/{job_id}")).json()
    assert answer == {"status": "COMPLETED", "stream": [{"output": {"b": 1}}]}
    answer = (await http_client.get(f"stream/{job_id}")).json()
    assert answer == {"status": "COMPLETED", "stream": []}


async def test_stream_holds_until_there_is_a_chunk(
    live: httpx.AsyncClient, live_worker: FakeWorker
) -> None:
    job_id = await submit(live)
    held = asyncio.create_task(live.get(f"stream/{job_id}"))
    await live_worker.take()
    assert not held.done()
    await live_worker.stream(job_id, "a")
    assert (await held).json()["stream"] == [{"output": "a"}]


async def test_stream_without_news_answers_after_a_while(http_client: httpx.AsyncClient) -> None:
    job_id = await submit(http_client)
    assert (await http_client.get(f"stream/{job_id}")).json() == {
        "status": "IN_QUEUE",
        "stream": [],
    }


async def test_a_cancelled_job_is_not_given_out(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    job_id = await submit(http_client)
    answer = (await http_client.post(f"cancel/{job_id}")).json()
    assert answer == {"id": job_id, "status": "CANCELLED"}
    assert await fake_worker.take() == []


async def test_cancel_leaves_a_final_job_alone(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    job_id = await submit(http_client)
    await fake_worker.take()
    await fake_worker.done(job_id, output="kept")
    assert (await http_client.post(f"cancel/{job_id}")).json()["status"] == "COMPLETED"
    assert (await http_client.get(f"status/{job_id}")).json()["output"] == "kept"
    assert await fake_worker.stops() == []


async def test_retry_gives_a_failed_job_out_again(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    job_id = await submit(http_client)
    assert (await http_client.post(f"retry/{job_id}")).status_code == 409
    await fake_worker.take()
    await fake_worker.stream(job_id, "first try")
    await fake_worker.done(job_id, error="broken")

    assert (await http_client.post(f"retry/{job_id}")).json() == {
        "id": job_id,
        "status": "IN_QUEUE",
    }
    assert (await http_client.get(f"status/{job_id}")).json() == {
        "id": job_id,
        "status": "IN_QUEUE",
    }
    assert await fake_worker.take() == [{"id": job_id, "input": {"prompt": "hello"}}]
    await fake_worker.stream(job_id, "second try")
    assert (await http_client.get(f"stream/{job_id}")).json()["stream"] == [
        {"output": "second try"}
    ]
    await fake_worker.done(job_id, output=[])
    assert (await http_client.post(f"retry/{job_id}")).status_code == 409


async def test_purge_removes_what_waits_and_nothing_else(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    taken = await submit(http_client)
    await fake_worker.take()
    waiting = [await submit(http_client) for _ in range(2)]
    answer = (await http_client.post("purge-queue")).json()
    assert answer == {"removed": 2, "status": "completed"}
    assert await status(http_client, taken) == "IN_PROGRESS"
    assert [await status(http_client, job_id) for job_id in waiting] == ["CANCELLED"] * 2
    assert await fake_worker.take() == []


async def test_health_counts(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    outcomes = [await submit(http_client) for _ in range(3)]
    await fake_worker.take(3)
    await fake_worker.done(outcomes[0], output=[])
    await fake_worker.done(outcomes[1], error="x")
    await http_client.post(f"retry/{outcomes[1]}")
    await http_client.get("ping/worker-2?job_id=a,b&runpod_version=1.12.0")
    assert (await http_client.get("health")).json() == {
        "jobs": {"completed": 1, "failed": 1, "inProgress": 1, "inQueue": 1, "retried": 1},
        "workers": {"idle": 1, "running": 1},
    }
    await http_client.post(f"cancel/{outcomes[2]}")
    clock.advance(31)
    await http_client.get("ping/worker-2?job_id=&runpod_version=1.12.0")
    assert (await http_client.get("health")).json()["workers"] == {"idle": 1, "running": 0}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"input": {}, "policy": 5}',
        b'{"input": {}, "policy": {"ttl": -1}}',
        b'{"input": {}, "policy": {"executionTimeout": true}}',
        b'{"input": {}, "webhook": 5}',
        b"[" * 100_000,
    ],
)
async def test_a_malformed_job_is_refused(http_client: httpx.AsyncClient, body: bytes) -> None:
    for path in ("run", "runsync"):
        answer = await http_client.post(path, content=body)
        assert answer.status_code == 400
        assert isinstance(answer.json()["error"], str)


async def test_the_sizes_are_limited() -> None:
    limits = Limits(run_bytes=100, runsync_bytes=200)
    transport = httpx.ASGITransport(app=create_app(JobQueue(limits)))

    async def chunked(body: bytes) -> AsyncIterator[Any]:
        yield body[:50]
        yield body[50:]

    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        for path, limit in (("run", 100), ("runsync?wait=0", 200)):
            fits = json.dumps({"input": {"x": ""}}).ljust(limit).encode()
            for content in (fits, chunked(fits)):
                assert (await client.post(path, content=content)).status_code == 200
            for content in (fits + b" ", chunked(fits + b" ")):
                assert (await client.post(path, content=content)).status_code == 413
    assert (Limits().run_bytes, Limits().runsync_bytes) == (10 * 2**20, 20 * 2**20)


async def test_unknown_jobs_and_routes_are_not_found(http_client: httpx.AsyncClient) -> None:
    for method, path in [
        ("GET", "status/x"),
        ("GET", "stream/x"),
        ("POST", "cancel/x"),
        ("POST", "retry/x"),
        ("GET", "nothing"),
    ]:
        answer = await http_client.request(method, path)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert (await http_client.get("run")).status_code == 405


async def test_paths_work_without_the_endpoint_and_with_any(http_client: httpx.AsyncClient) -> None:
    job_id = (await http_client.post("http://x/run", json=JOB)).json()["id"]
    assert (await http_client.get(f"http://x/status/{job_id}")).status_code == 200
    assert (await http_client.get(f"http://x/v2/another/status/{job_id}")).status_code == 200


async def test_a_job_that_executes_too_long_times_out(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    usual = await submit(http_client)
    short = await submit(http_client, policy={"executionTimeout": 5000})
    clock.advance(500)  # waiting does not count
    await fake_worker.take()
    clock.advance(4.9)
    assert await status(http_client, short) == "IN_PROGRESS"
    clock.advance(0.2)
    answer = (await http_client.get(f"status/{short}")).json()
    assert (answer["status"], answer["executionTime"]) == ("TIMED_OUT", 5000)
    assert await fake_worker.stops() == [short]
    clock.advance(594.8)
    assert await status(http_client, usual) == "IN_PROGRESS"
    clock.advance(0.2)
    assert await status(http_client, usual) == "TIMED_OUT"
    assert (await http_client.post(f"retry/{usual}")).json()["status"] == "IN_QUEUE"


async def test_ttl_ends_waiting_and_executing_jobs(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    executing = await submit(http_client, policy={"ttl": 20_000})
    await fake_worker.take()
    waiting = await submit(http_client, policy={"ttl": 20_000})
    clock.advance(19.9)
    assert await status(http_client, executing) == "IN_PROGRESS"
    assert await status(http_client, waiting) == "IN_QUEUE"
    clock.advance(0.2)
    for job_id in (executing, waiting):
        assert (await http_client.get(f"status/{job_id}")).status_code == 404
    assert await fake_worker.take() == []
    assert await fake_worker.stops() == [executing]
    await fake_worker.done(executing, output=[])  # too late, and no error for the worker
    assert clock.timers == []


@pytest.mark.parametrize("ended", [False, True])
async def test_a_ttl_in_the_query_counts_from_the_request(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock, ended: bool
) -> None:
    job_id = await submit(http_client)
    await fake_worker.take()
    clock.advance(100)
    if ended:
        await fake_worker.done(job_id, output=[1])
    answer = (await http_client.get(f"status/{job_id}?ttl=6000")).json()
    assert answer["status"] == ("COMPLETED" if ended else "IN_PROGRESS")
    clock.advance(5.9)
    assert (await http_client.get(f"status/{job_id}")).status_code == 200
    clock.advance(0.1)
    assert (await http_client.get(f"status/{job_id}")).status_code == 404
    submitted = (await http_client.post("run?ttl=10000", json=JOB)).json()["id"]
    clock.advance(10)
    assert (await http_client.get(f"status/{submitted}")).status_code == 404
    refused = await http_client.post("run?ttl=soon", json=JOB)
    assert (refused.status_code, refused.json()) == (400, {"error": '"ttl" must be a whole number'})


async def test_who_waits_for_a_job_past_its_ttl_is_told(
    http_client: httpx.AsyncClient, clock: ManualClock
) -> None:
    answer = asyncio.create_task(http_client.post("runsync?ttl=1000", json=JOB))
    await asyncio.sleep(0.01)
    clock.advance(1)
    body = (await answer).json()
    assert (body["status"], body["error"]) == ("TIMED_OUT", "the job exceeded its ttl")


async def test_results_expire(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    kept_long = await submit(http_client)
    kept_short = (await http_client.post("runsync?wait=0", json=JOB)).json()["id"]
    await fake_worker.take()
    clock.advance(300)  # the time counts from the end
    for job_id in (kept_long, kept_short):
        await fake_worker.done(job_id, output=[])
    clock.advance(59)
    assert await status(http_client, kept_short) == "COMPLETED"
    clock.advance(1)
    assert (await http_client.get(f"status/{kept_short}")).status_code == 404
    clock.advance(30 * 60 - 61)
    assert await status(http_client, kept_long) == "COMPLETED"
    clock.advance(1)
    assert (await http_client.get(f"status/{kept_long}")).status_code == 404
    assert clock.timers == []  # nothing is left behind
