"""What the SDK calls, and that no worker gets or breaks what is not its own."""

import asyncio
import json

import httpx
import pytest

from tests.support.endpoint_fakes import FakeWorker, ManualClock
from vllm_worker.local_endpoint.job_queue import JobQueue

JOB = {"input": {"prompt": "hello"}}


async def submit(client: httpx.AsyncClient, **more: object) -> str:
    return (await client.post("run", json=JOB | more)).json()["id"]


async def result(client: httpx.AsyncClient, job_id: str) -> dict[str, object]:
    return (await client.get(f"status/{job_id}")).json()


async def wait_until_held(queue: JobQueue, worker_id: str) -> None:
    """Until a poll of this worker has arrived, and some more for it to be waiting."""
    while queue._workers.get(worker_id) is None:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.03)


async def test_job_take_gives_the_oldest_job(http_client: httpx.AsyncClient) -> None:
    first, second = await submit(http_client), await submit(http_client)
    for job_id in (first, second):
        answer = await http_client.get("job-take/w?gpu=local&job_in_progress=0")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"id": job_id, "input": {"prompt": "hello"}}
    answer = await http_client.get("job-take/w?gpu=local&job_in_progress=1")
    assert (answer.status_code, answer.content) == (204, b"")


async def test_job_take_batch_gives_at_most_what_is_asked(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    ids = [await submit(http_client) for _ in range(5)]
    assert [job["id"] for job in await fake_worker.take(3)] == ids[:3]
    assert [job["id"] for job in await fake_worker.take(3)] == ids[3:]
    assert (await http_client.get("job-take-batch/w?batch_size=0")).status_code == 400


async def test_a_held_job_take_is_answered_by_a_job(
    live: httpx.AsyncClient, live_queue: JobQueue, live_worker: FakeWorker
) -> None:
    held = asyncio.create_task(live_worker.take())
    await wait_until_held(live_queue, live_worker.id)
    assert not held.done()
    job_id = await submit(live)
    assert [job["id"] for job in await held] == [job_id]


async def test_a_worker_that_has_gone_is_not_given_a_job(
    live: httpx.AsyncClient, live_url: str, live_queue: JobQueue, live_worker: FakeWorker
) -> None:
    async with httpx.AsyncClient(base_url=live_url, verify=False) as client:
        held = asyncio.create_task(FakeWorker(client, "gone").take())
        await wait_until_held(live_queue, "gone")
        held.cancel()
        await asyncio.wait([held])
    await asyncio.sleep(0.03)
    job_id = await submit(live)
    assert (await result(live, job_id))["status"] == "IN_QUEUE"
    assert [job["id"] for job in await live_worker.take()] == [job_id]


async def test_a_stop_signal_reaches_the_worker_that_holds_the_job(
    live: httpx.AsyncClient, live_queue: JobQueue, live_worker: FakeWorker
) -> None:
    other = FakeWorker(live, "other")
    mine = await submit(live)
    await live_worker.take()
    others = await submit(live)
    await other.take()
    polls = [asyncio.create_task(worker.stops()) for worker in (live_worker, other)]
    await asyncio.sleep(0.03)

    await live.post(f"cancel/{mine}")
    assert await polls[0] == [mine]
    assert not polls[1].done()
    await live.post(f"cancel/{others}")
    assert await polls[1] == [others]


async def test_stops_wait_for_the_next_poll_and_are_told_once(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    ids = [await submit(http_client) for _ in range(2)]
    await fake_worker.take()
    clock.advance(1)
    for job_id in ids:
        await http_client.post(f"cancel/{job_id}")
    assert await fake_worker.stops() == sorted(ids)
    assert await fake_worker.stops() == []


async def test_a_stop_is_not_told_before_the_sdk_can_have_begun_the_job(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    silent, heard_of = [await submit(http_client) for _ in range(2)]
    await fake_worker.take()
    await fake_worker.stream(heard_of, "a chunk")
    for job_id in (silent, heard_of):
        await http_client.post(f"cancel/{job_id}")
    assert await fake_worker.stops() == [heard_of]
    clock.advance(0.3)
    assert await fake_worker.stops() == [silent]


async def test_an_error_is_kept_as_text(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    text = json.dumps({"message": "é", "code": 400})
    for error, kept in ((text, text), ({"a": 1}, '{"a": 1}'), ("plain", "plain")):
        job_id = await submit(http_client)
        await fake_worker.take()
        await fake_worker.done(job_id, error=error)
        answer = await result(http_client, job_id)
        assert (answer["status"], answer["error"]) == ("FAILED", kept)


async def test_late_posts_are_quietly_ignored(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    job_id = await submit(http_client)
    await fake_worker.take()
    await FakeWorker(http_client, "other").stream(job_id, "not its job")
    await FakeWorker(http_client, "other").done(job_id, output="not its job")
    assert (await result(http_client, job_id))["status"] == "IN_PROGRESS"

    await fake_worker.done(job_id, output="first")
    for answer in (
        await fake_worker.done(job_id, output="again"),
        await fake_worker.done(job_id, error="again"),
        await fake_worker.stream(job_id, "again"),
        await fake_worker.stream("unknown", "x"),
        await fake_worker.done("unknown", output="x"),
    ):
        assert answer.status_code == 200
    final = await result(http_client, job_id)
    assert (final["status"], final["output"]) == ("COMPLETED", "first")
    assert (await http_client.get(f"stream/{job_id}")).json()["stream"] == []
    assert (await http_client.get("health")).json()["jobs"]["completed"] == 1


async def test_a_worker_that_lost_its_job_to_a_retry_cannot_touch_it(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    job_id = await submit(http_client, policy={"executionTimeout": 1000})
    await fake_worker.take()
    clock.advance(2)
    await http_client.post(f"retry/{job_id}")
    second = FakeWorker(http_client, "second")
    await second.take()
    await fake_worker.done(job_id, output="late")
    assert (await result(http_client, job_id))["status"] == "IN_PROGRESS"
    await second.done(job_id, output="right")
    assert (await result(http_client, job_id))["output"] == "right"


@pytest.mark.parametrize("output", ["a=1&b=%20+ü", {"nested": [None, 1.5]}, "", None, "😀\n"])
async def test_bodies_survive_the_form_content_type(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, output: object
) -> None:
    job_id = await submit(http_client)
    await fake_worker.take()
    await fake_worker.stream(job_id, output)
    await fake_worker.done(job_id, output=output)
    assert (await http_client.get(f"stream/{job_id}")).json()["stream"] == [{"output": output}]
    assert (await result(http_client, job_id))["output"] == output


async def test_a_malformed_post_is_refused(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    job_id = await submit(http_client)
    await fake_worker.take()
    for path in ("job-stream", "job-done"):
        for body in (b"", b"{", b"[1]"):
            answer = await http_client.post(f"{path}/{fake_worker.id}/{job_id}", content=body)
            assert answer.status_code == 400
    assert (await result(http_client, job_id))["status"] == "IN_PROGRESS"


async def test_no_input_can_spoil_a_batch(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    await http_client.post("run", content=rb'{"input": {"half": "\ud800", "number": NaN}}')
    await submit(http_client)
    half, other = await fake_worker.take()
    assert half["input"]["half"] == "?"
    assert other["input"] == {"prompt": "hello"}


async def test_closing_releases_polls_and_lets_work_finish(
    live: httpx.AsyncClient, live_queue: JobQueue, live_worker: FakeWorker
) -> None:
    running = await submit(live)
    await live_worker.take()
    polls = [asyncio.create_task(poll()) for poll in (live_worker.take, live_worker.stops)]
    await asyncio.sleep(0.03)
    live_queue.close()
    assert [await poll for poll in polls] == [[], []]
    assert (await live_worker.take(), await live_worker.stops()) == ([], [])

    for path in ("run", "runsync", "openai/v1/completions", f"retry/{running}"):
        expected = 409 if path.startswith("retry") else 503
        assert (await live.post(path, json=JOB)).status_code == expected
    await live_worker.done(running, output="done")
    assert (await result(live, running))["output"] == "done"


async def test_closing_fails_the_jobs_that_wait(
    http_client: httpx.AsyncClient, queue: JobQueue
) -> None:
    job_id = await submit(http_client)
    queue.close()
    answer = await result(http_client, job_id)
    assert answer["status"] == "FAILED"
    assert json.loads(str(answer["error"]))["code"] == 503
    assert (await http_client.post(f"retry/{job_id}")).status_code == 503
