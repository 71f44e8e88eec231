import aiohttp
import pytest

from vllm_worker.gateway.file import Provider
from vllm_worker.gateway.health import health, health_url


def at(url: str) -> Provider:
    return Provider.model_validate({"url": url})


async def test_health_is_what_each_provider_says(providers_session: aiohttp.ClientSession) -> None:
    providers = {
        "pod": at("http://pod/v1"),
        "locked": at("http://pod/v1"),
        "plain": at("http://plain/v1"),
    }
    secret = {"Authorization": "Bearer secret"}
    headers = {"pod": secret, "locked": {}, "plain": secret}
    assert await health(providers, headers, providers_session) == {
        "pod": {"ok": True, "jobs": 2},
        "locked": {"ok": False, "error": "status 401"},
        "plain": {"ok": True},
    }


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        (Provider(endpoint="abc"), "https://api.runpod.ai/v2/abc/health"),
        (Provider(load_balancer="abc"), "https://api.runpod.ai/v2/abc/health"),
        (at("http://h:1/x/v1"), "http://h:1/health"),
    ],
)
def test_runpods_own_health_wakes_no_worker(provider: Provider, url: str) -> None:
    assert health_url(provider) == url
