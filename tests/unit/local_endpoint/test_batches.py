"""RunPod's batch API, by its documentation."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.endpoint_fakes import FakeWorker, ManualClock

REQUESTS = [{"input": {"prompt": "a"}}, {"input": {"prompt": "b"}}, {"input": {"prompt": "c"}}]


async def create(client: httpx.AsyncClient, content: Any = None) -> str:
    answer = (await client.post("batch", json=REQUESTS if content is None else content)).json()
    assert answer["status"] == "DRAFT"
    return str(answer["id"])


async def counts(client: httpx.AsyncClient, batch_id: str) -> tuple[int, ...]:
    summary = (await client.get(f"batch/{batch_id}")).json()
    names = ("Total", "InProgress", "Completed", "Failed")
    return tuple(summary[f"request{name}"] for name in names)


async def test_nothing_runs_before_a_batch_is_finalized(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    batch_id = await create(http_client)
    assert await fake_worker.take() == []
    finalized = (await http_client.post(f"batch/{batch_id}/finalize")).json()
    assert finalized["status"] == "FINALIZED"
    jobs = await fake_worker.take()
    assert [job["input"] for job in jobs] == [each["input"] for each in REQUESTS]
    assert {job["batchId"] for job in jobs} == {batch_id}
    assert await counts(http_client, batch_id) == (3, 3, 0, 0)


async def test_results_come_by_request(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    batch_id = await create(http_client)
    await http_client.post(f"batch/{batch_id}/finalize")
    first, second, _ = await fake_worker.take()
    await fake_worker.done(first["id"], output=["text"])
    await fake_worker.done(second["id"], error="no")
    assert await counts(http_client, batch_id) == (3, 1, 1, 1)
    page = (await http_client.get(f"batch/{batch_id}/requests?limit=2")).json()
    done, failed = page["requests"]
    assert (done["status"], done["output"]) == ("COMPLETED", ["text"])
    assert (failed["status"], failed["error"]) == ("FAILED", "no")
    assert (page["total"], page["offset"], page["hasMore"]) == (3, 0, True)
    page = (await http_client.get(f"batch/{batch_id}/requests?offset=2")).json()
    assert (len(page["requests"]), page["limit"], page["hasMore"]) == (1, 50, False)


async def test_a_draft_can_be_changed_and_then_no_more(http_client: httpx.AsyncClient) -> None:
    batch_id = await create(http_client, {"name": "nightly", "requests": REQUESTS[:1]})
    path = f"batch/{batch_id}"
    await http_client.post(f"{path}/requests", json={"requests": REQUESTS[1:]})
    request_ids = [
        each["id"] for each in (await http_client.get(f"{path}/requests")).json()["requests"]
    ]
    assert len(set(request_ids)) == 3
    left = (await http_client.delete(f"{path}/requests/{request_ids[0]}")).json()
    assert left["requestTotal"] == 2
    assert (await http_client.put(path, json={"name": "daily"})).json()["name"] == "daily"
    await http_client.post(f"{path}/finalize")
    for method, rest, body in (
        ("POST", "/requests", REQUESTS),
        ("POST", "/finalize", None),
        ("DELETE", f"/requests/{request_ids[1]}", None),
    ):
        answer = await http_client.request(method, path + rest, json=body)
        assert answer.status_code == 409
        assert "FINALIZED" in answer.json()["error"]


async def test_cancelling_ends_what_waits(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    batch_id = await create(http_client)
    await http_client.post(f"batch/{batch_id}/finalize")
    (taken,) = await fake_worker.take(1)
    cancelled = (await http_client.post(f"batch/{batch_id}/cancel")).json()
    assert (cancelled["status"], cancelled["requestInProgress"]) == ("CANCELLED", 1)
    assert await fake_worker.take() == []
    await fake_worker.done(taken["id"], output=[])
    assert await counts(http_client, batch_id) == (3, 0, 1, 0)


async def test_the_newest_batch_is_listed_first(http_client: httpx.AsyncClient) -> None:
    ids = [await create(http_client, []) for _ in range(3)]
    listed = (await http_client.get("batch")).json()["batches"]
    assert [each["id"] for each in listed] == ids[::-1]
    assert {each["endpointId"] for each in listed} == {"local"}


async def test_requests_that_are_purged_count_as_failed(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    batch_id = await create(http_client)
    await http_client.post(f"batch/{batch_id}/finalize")
    await http_client.post("purge-queue")
    assert await counts(http_client, batch_id) == (3, 0, 0, 3)
    late = (await http_client.post(f"batch/{batch_id}/cancel")).json()
    assert late["status"] == "FINALIZED"  # there is nothing left to cancel


@pytest.mark.parametrize(
    "content",
    [{"input": {}}, {"request": []}, {"requests": {}}, [1], [{"prompt": "a"}], "a", None, 3],
)
async def test_what_is_no_batch_is_refused(http_client: httpx.AsyncClient, content: Any) -> None:
    answer = await http_client.post("batch", json=content)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert (await http_client.get("batch/batch_1")).status_code == 404


async def test_requests_that_come_while_a_batch_is_finalized_are_refused(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker
) -> None:
    batch_id = await create(http_client)

    async def slowly() -> AsyncIterator[bytes]:
        yield b'[{"input": '
        await http_client.post(f"batch/{batch_id}/finalize")
        yield b"{}}]"

    answer = await http_client.post(f"batch/{batch_id}/requests", content=slowly())
    assert answer.status_code == 409
    assert (await counts(http_client, batch_id))[0] == 3


async def test_a_batch_is_forgotten_at_last(
    http_client: httpx.AsyncClient, fake_worker: FakeWorker, clock: ManualClock
) -> None:
    batch_id = await create(http_client)
    await http_client.post(f"batch/{batch_id}/finalize")
    for job in await fake_worker.take():
        await fake_worker.stream(job["id"], "text")
        await fake_worker.done(job["id"], output=["text"])
    clock.advance(3600)
    page = (await http_client.get(f"batch/{batch_id}/requests")).json()
    assert [each["output"] for each in page["requests"]] == [["text"]] * 3
    clock.advance(48 * 3600)
    assert (await http_client.get(f"batch/{batch_id}")).status_code == 404
    assert clock.timers == []
