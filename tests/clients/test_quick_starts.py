"""Other people's clients, each by its ordinary quick start, on the queue and on HTTP.

A quick start prints one line of JSON. Of a client that has more than one way, `by_…` is another.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.clients import environments
from tests.support.http_worker import KEY, http_worker, wait_for_status
from tests.support.running import running_worker_and_endpoint

pytestmark = pytest.mark.slow

USUAL = {"answer", "streamed", "called", "told", "structured"}
CLIENTS: dict[str, set[str]] = {
    "anthropic_js": USUAL,
    "instructor": {"structured", "structured_by_schema", "structured_in_parts"},
    "langchain_openai": USUAL | {"forced"},
    "litellm": USUAL,
    "llama_index": USUAL,
    "llm": USUAL - {"called"},
    "openai_agents": USUAL | {"by_chat"},
    "openai_js": USUAL,
    "pydantic_ai": USUAL | {"structured_by_schema"},
    "runpod": USUAL - {"told"} | {"by_asyncio"},
    "vercel_ai": USUAL,
}
"""What each prints."""
ONLY_ON_THE_QUEUE = {"runpod"}


@pytest.fixture(scope="module", params=["queue", "http"])
def addresses(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """The variables by which clients find a worker."""
    if request.param == "queue":
        with running_worker_and_endpoint({}) as (_, endpoint):
            base = f"{endpoint.url}/v2/local/openai"
            yield _variables(base, "none") | {
                "RUNPOD_ENDPOINT_BASE_URL": f"{endpoint.url}/v2",
                "RUNPOD_API_KEY": "none",
                "ENDPOINT_ID": "local",
            }
        return
    worker, url = http_worker()
    try:
        wait_for_status(worker, url, 200)
        yield _variables(url, KEY)
    finally:
        worker.stop()


def _variables(base: str, key: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_KEY": key,
        "MODEL": "demo",
        # It would fetch the prices of models from elsewhere.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("client", CLIENTS)
def test_quick_start(client: str, addresses: Mapping[str, str]) -> None:
    if client in ONLY_ON_THE_QUEUE and "RUNPOD_ENDPOINT_BASE_URL" not in addresses:
        pytest.skip("has nothing but RunPod's operations")
    done = subprocess.run(
        environments.command(client), env=os.environ | addresses,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() == CLIENTS[client]
    _check(result)
    for another in (result[name] for name in result if name.startswith("by_")):
        assert another.keys() >= {"answer", "streamed"}
        _check(another)


def _check(result: Mapping[str, Any]) -> None:
    for name, value in result.items():
        match name:
            case "answer":
                assert "RunPod" in value
            case "streamed":
                assert "".join(value) == result["answer"]
            case "called":
                assert value == ["get_weather", {"city": "Paris"}]
            case "forced":
                assert value == ["get_weather", {"city": "Rome"}]
            case "told":
                assert "19 degrees" in value
                assert "Paris" in value
            case _ if name.startswith("structured"):
                assert value.keys() == {"colour", "sure"}
                assert value["colour"] in ("red", "green", "blue")
                assert isinstance(value["sure"], bool)
