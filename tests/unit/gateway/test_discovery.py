import aiohttp
import pytest

from vllm_worker.gateway.discovery import discover
from vllm_worker.gateway.file import GatewayFile

FILE = GatewayFile.model_validate(
    {
        "providers": {"pod": {"url": "http://pod:8000/v1", "discover": "team-a"}},
        "models": {"team-a/listed": [{"provider": "pod", "model": "another"}]},
    }
)


SECRET = {"Authorization": "Bearer secret"}


async def test_a_list_becomes_entities_and_the_file_wins(
    providers_session: aiohttp.ClientSession,
) -> None:
    models = await discover(FILE, {"pod": SECRET}, providers_session)
    assert {entity: targets[0].model for entity, targets in models.items()} == {
        "team-a/listed": "another",
        "team-a/meta-llama-3-1": "meta/Llama-3.1",
        "team-a/listed-too": "listed too",
    }


async def test_a_provider_that_lists_nothing_has_what_the_file_says(
    providers_session: aiohttp.ClientSession, worker_log: pytest.LogCaptureFixture
) -> None:
    assert list(await discover(FILE, {"pod": {}}, providers_session)) == ["team-a/listed"]
    assert "pod does not list its models (ClientResponseError)" in worker_log.text
