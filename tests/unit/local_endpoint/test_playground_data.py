"""The queue as the playground lists it, and what the worker says of itself."""

import httpx
import pytest

from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.jobs import excerpt
from vllm_worker.local_endpoint.playground_data import MOST_JOBS, MOST_REPORT, MOST_TEXT
from vllm_worker.web.keys import Keys

JOBS = "/playground/jobs.json"
WORKER = "/playground/worker.json"


def client_of(*keys: str) -> httpx.AsyncClient:
    app = create_app(JobQueue(), Keys(list(keys)), "e1")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://h")


async def test_jobs_are_listed_with_the_newest_first() -> None:
    async with client_of() as client:
        for number in range(MOST_JOBS + 5):
            await client.post("/run", json={"input": {"n": number}})
        found = (await client.get(JOBS)).json()
    assert len(found["jobs"]) == MOST_JOBS
    assert [job["input"]["n"] for job in found["jobs"]][:2] == [MOST_JOBS + 4, MOST_JOBS + 3]
    assert found["jobs"][0]["status"] == "IN_QUEUE"
    assert found["jobs"][0]["age_s"] >= 0
    assert found["workers"] == {"idle": 0, "running": 0}


async def test_a_long_input_is_shown_by_its_beginning() -> None:
    async with client_of() as client:
        await client.post("/run", json={"input": {"prompt": "ü" * 10_000}})
        (job,) = (await client.get(JOBS)).json()["jobs"]
    prompt = job["input"]["prompt"]
    assert prompt.endswith("ü…")
    assert MOST_TEXT - 50 < len(prompt) <= MOST_TEXT


async def test_an_input_is_shown_when_its_job_is_done() -> None:
    async with client_of() as client:
        for prompt in ("short", "x" * 10_000):
            await client.post("/run", json={"input": {"prompt": prompt}})
            job_id = (await client.get("/v2/e1/job-take/w")).json()["id"]
            await client.post(f"/v2/e1/job-done/w/{job_id}", content='{"output": [1]}')
        long, short = (await client.get(JOBS)).json()["jobs"]
    assert (short["status"], short["input"]) == ("COMPLETED", {"prompt": "short"})
    assert 900 < len(long["input"]["prompt"]) <= 1001


async def test_jobs_are_counted_by_their_state() -> None:
    async with client_of() as client:
        ids = [(await client.post("/run", json={"input": {}})).json()["id"] for _ in range(3)]
        await client.post(f"/cancel/{ids[0]}")
        await client.get("/v2/e1/job-take/w")
        counts = (await client.get(JOBS)).json()["counts"]
    assert {status for status, count in counts.items() if count == 0} == {
        "COMPLETED", "FAILED", "TIMED_OUT",
    }  # fmt: skip
    assert counts["IN_QUEUE"] == counts["IN_PROGRESS"] == counts["CANCELLED"] == 1


@pytest.mark.parametrize(
    ("value", "room", "shown"),
    [
        ({"a": [1, 2.5, None, True]}, 100, {"a": [1, 2.5, None, True]}),
        ("abcdef", 3, "abc…"),
        ({"a": "bcd", "e": 1}, 7, {"a": "bc…", "…": "…"}),
        ([1, 2, 3], 10, [1, 2, "…"]),
        (None, 0, None),
        ({"a": float("nan"), "b": [float("inf")]}, 100, {"a": "nan", "b": ["inf"]}),
    ],
)
def test_an_excerpt_is_the_beginning(value: object, room: int, shown: object) -> None:
    assert excerpt(value, room) == shown


def test_an_excerpt_of_a_deep_value_is_not_deep() -> None:
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    assert str(excerpt(deep, 1000)).count("[") == 20


async def test_outputs_and_chunks_are_shown() -> None:
    async with client_of() as client:
        job_id = (await client.post("/run", json={"input": {}})).json()["id"]
        await client.get("/v2/e1/job-take/w")
        await client.post(f"/v2/e1/job-stream/w/{job_id}", content='{"output": "a"}')
        (job,) = (await client.get(JOBS)).json()["jobs"]
        assert (job["status"], job["output"]) == ("IN_PROGRESS", ["a"])
        await client.post(f"/v2/e1/job-done/w/{job_id}", content='{"error": "wrong"}')
        (job,) = (await client.get(JOBS)).json()["jobs"]
    assert (job["status"], job["error"]) == ("FAILED", "wrong")


async def test_the_worker_is_as_it_said_last() -> None:
    async with client_of() as client:
        assert (await client.get(WORKER)).json() == {
            "ready": False, "age_s": None, "alive": 0,
        }  # fmt: skip
        await client.post("/playground/worker", json={"ready": True, "parts": {"engine": 3}})
        said = (await client.get(WORKER)).json()
        refused = await client.post("/playground/worker", json=[1])
        of_a_page = await client.post("/playground/worker", content='{"ready": false}')
    assert said.pop("age_s") < 60
    assert said == {"ready": True, "parts": {"engine": 3}, "alive": 0}
    assert (refused.status_code, of_a_page.status_code) == (400, 415)


async def test_a_worker_says_no_more_than_fits() -> None:
    async with client_of() as client:
        long = b" " * (MOST_REPORT + 1)
        kind = {"Content-Type": "application/json"}
        said = await client.post("/playground/worker", content=long, headers=kind)
        assert said.status_code == 413
        assert (await client.get(WORKER)).json()["age_s"] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200), ("/playground/app.js", 200), ("/playground/about.json", 200),
        (JOBS, 401), (WORKER, 401), ("/playground/missing", 401),
    ],
)  # fmt: skip
async def test_the_page_needs_no_key_and_what_it_shows_does(path: str, status: int) -> None:
    async with client_of("secret") as client:
        assert (await client.get(path)).status_code == status
        key = {"Authorization": "Bearer secret"}
        expected = 404 if path.endswith("missing") else 200
        assert (await client.get(path, headers=key)).status_code == expected
        refused = await client.post("/playground/worker", json={})
    assert refused.status_code == 401
