"""Models that a provider lists, as entities of a workspace."""

import asyncio
from collections.abc import Mapping

import httpx

from vllm_worker.errors import StartFailure
from vllm_worker.gateway.file import GatewayFile, Provider, Target
from vllm_worker.gateway.names import would_do


async def discover(
    file: GatewayFile, keys: Mapping[str, str], client: httpx.AsyncClient
) -> dict[str, list[Target]]:
    """The file's models, and for each provider with `discover` those of its /v1/models.

    Where the file has an entity, its own targets count. Raises StartFailure for a provider that
    does not answer.
    """
    asked = {name: one for name, one in file.providers.items() if one.discover}
    lists = await asyncio.gather(
        *(_listed(name, one, keys.get(name, ""), client) for name, one in asked.items())
    )
    models: dict[str, list[Target]] = {name: list(targets) for name, targets in file.models.items()}
    for (name, provider), listed in zip(asked.items(), lists, strict=True):
        for model in listed:
            entity = would_do(f"{provider.discover}/{model}", [provider.discover or ""])
            if entity not in file.models:
                models.setdefault(entity, []).append(Target(provider=name, model=model))
    return models


async def _listed(name: str, provider: Provider, key: str, client: httpx.AsyncClient) -> list[str]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{provider.base_url}/models"
    try:
        answer = await client.get(url, headers=headers, timeout=provider.wait)
        answer.raise_for_status()
        return [str(model["id"]) for model in answer.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise StartFailure(f"{name} does not list its models: {type(error).__name__}") from None
