"""The queue as the playground lists it, and what the worker says of itself."""

import httpx
import pytest

from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.local_endpoint.playground_data import MOST_JOBS, MOST_TEXT
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
    assert job["input"].startswith('{"prompt":')
    assert len(job["input"]) == MOST_TEXT + 1


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
