"""What the door answers while its worker starts."""

import httpx
import pytest

from vllm_worker.http_server.starting import application_of

BROWSER = {"Accept": "text/html,*/*"}


def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application_of("/healthz"))
    return httpx.AsyncClient(transport=transport, base_url="http://x")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ping", 204), ("GET", "/health", 204), ("GET", "/healthz", 204),
        ("GET", "/", 503), ("POST", "/ping", 503), ("GET", "/v1/models", 503),
        ("GET", "/metrics", 503), ("GET", "/playground/missing", 503),
        ("GET", "/playground/app.js", 200), ("POST", "/playground/app.js", 503),
    ],
)  # fmt: skip
async def test_a_program_is_told_to_come_again(method: str, path: str, status: int) -> None:
    async with client() as http:
        answer = await http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["connection"] == "close"
    assert (answer.headers.get("retry-after") == "1") == (status == 503)


async def test_a_browser_gets_the_page_which_shows_how_long_the_start_has_taken() -> None:
    async with client() as http:
        page = await http.get("/", headers=BROWSER)
        about = await http.get("/playground/about.json")
        worker = (await http.get("/playground/worker.json")).json()
    assert "<title>vLLM worker</title>" in page.text
    assert about.json() == {"door": "http"}
    assert worker["ready"] is False
    assert 0 <= worker["current_s"] < 60
