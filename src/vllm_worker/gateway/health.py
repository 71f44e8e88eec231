"""How providers are, without waking one that sleeps."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from vllm_worker.gateway.file import Provider

_WAIT = aiohttp.ClientTimeout(total=5)


async def health(
    providers: Mapping[str, Provider],
    headers: Mapping[str, Mapping[str, str]],
    session: aiohttp.ClientSession,
) -> dict[str, dict[str, Any]]:
    """By provider: `ok`, and RunPod's counts of workers and jobs, or what went wrong."""
    answers = await asyncio.gather(
        *(_ask(provider, headers[name], session) for name, provider in providers.items())
    )
    return dict(zip(providers, answers, strict=True))


async def _ask(
    provider: Provider, headers: Mapping[str, str], session: aiohttp.ClientSession
) -> dict[str, Any]:
    try:
        async with session.get(health_url(provider), headers=headers, timeout=_WAIT) as answer:
            if not answer.ok:
                return {"ok": False, "error": f"status {answer.status}"}
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return {"ok": False, "error": type(error).__name__}
    try:
        counts = json.loads(body)
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
