"""What the local endpoint asks for before it answers."""

import httpx
import pytest

from tests.support.endpoint_fakes import ManualClock
from vllm_worker.local_endpoint.app import create_app
from vllm_worker.local_endpoint.job_queue import JobQueue
from vllm_worker.web.keys import Keys

KEY = {"authorization": "Bearer k"}


def client(endpoint_id: str | None, *keys: str) -> httpx.AsyncClient:
    app = create_app(JobQueue(clock=ManualClock()), Keys(list(keys)), endpoint_id)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/mine/health", 200),
        ("/v2/yours/health", 404),
        ("/v2/mine2/health", 404),
        ("/v2", 404),
        ("/v2/yours/openai/v1/models", 404),
        ("/health", 200),
        ("/", 200),
    ],
)
async def test_one_endpoint_id_is_served(path: str, status: int) -> None:
    async with client("mine") as http:
        answer = await http.get(path)
    assert answer.status_code == status
    if path.startswith("/v2/yours"):
        error = answer.json()["error"]
        assert error["message"] == "There is no endpoint 'yours' here, but 'mine'."
        assert error["code"] == 404


async def test_any_endpoint_id_is_served_unless_one_is_named() -> None:
    async with client(None) as http:
        for name in ("mine", "yours"):
            assert (await http.get(f"/v2/{name}/health")).status_code == 200
        assert (await http.get("/")).json()["runpod"] == "/v2/local"


async def test_the_page_names_the_endpoint_id() -> None:
    async with client("mine") as http:
        assert (await http.get("/")).json()["runpod"] == "/v2/mine"


async def test_the_key_comes_before_the_endpoint_id() -> None:
    async with client("mine", "k") as http:
        assert (await http.get("/v2/yours/health")).status_code == 401
        assert (await http.get("/v2/yours/health", headers=KEY)).status_code == 404
        assert (await http.get("/v2/mine/health", headers=KEY)).status_code == 200
