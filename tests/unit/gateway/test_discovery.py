import httpx
import pytest

from vllm_worker.errors import StartFailure
from vllm_worker.gateway.discovery import discover
from vllm_worker.gateway.file import GatewayFile

FILE = GatewayFile.model_validate(
    {
        "providers": {"pod": {"url": "http://pod:8000/v1", "discover": "team-a"}},
        "models": {"team-a/listed": [{"provider": "pod", "model": "another"}]},
    }
)


async def test_a_list_becomes_entities_and_the_file_wins(
    providers_client: httpx.AsyncClient,
) -> None:
    models = await discover(FILE, {"pod": "secret"}, providers_client)
    assert {entity: targets[0].model for entity, targets in models.items()} == {
        "team-a/listed": "another",
        "team-a/meta-llama-3-1": "meta/Llama-3.1",
        "team-a/listed-too": "listed too",
    }


async def test_a_provider_that_lists_nothing_ends_the_start(
    providers_client: httpx.AsyncClient,
) -> None:
    with pytest.raises(StartFailure, match="pod does not list its models: HTTPStatusError"):
        await discover(FILE, {}, providers_client)
