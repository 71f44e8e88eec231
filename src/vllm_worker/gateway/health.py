"""How providers are, without waking one that sleeps."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from vllm_worker.gateway.file import Provider

_WAIT_S = 5


async def health(
    providers: Mapping[str, Provider], keys: Mapping[str, str], client: httpx.AsyncClient
) -> dict[str, dict[str, Any]]:
    """By provider: `ok`, and RunPod's counts of workers and jobs, or what went wrong."""
    answers = await asyncio.gather(
        *(_ask(provider, keys.get(name, ""), client) for name, provider in providers.items())
    )
    return dict(zip(providers, answers, strict=True))


async def _ask(provider: Provider, key: str, client: httpx.AsyncClient) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = await client.get(health_url(provider), headers=headers, timeout=_WAIT_S)
    except httpx.HTTPError as error:
        return {"ok": False, "error": type(error).__name__}
    if answer.is_error:
        return {"ok": False, "error": f"status {answer.status_code}"}
    try:
        counts = answer.json()
    except ValueError:
        return {"ok": True}
    return counts | {"ok": True} if isinstance(counts, dict) else {"ok": True}


def health_url(provider: Provider) -> str:
    """RunPod's own for endpoints of both kinds, which asks no worker; else the server's."""
    if provider.is_queue:
        return provider.base_url.removesuffix("/openai/v1") + "/health"
    if provider.load_balancer:
        return f"{str(provider.api).rstrip('/')}/{provider.load_balancer}/health"
    parts = urlsplit(provider.base_url)
    return f"{parts.scheme}://{parts.netloc}/health"
