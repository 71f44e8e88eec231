"""Models that a provider lists, as entities of a workspace."""

import asyncio
import json
import logging
from collections.abc import Mapping

import aiohttp

from vllm_worker.gateway.file import GatewayFile, Provider, Target
from vllm_worker.gateway.names import would_do

logger = logging.getLogger(__name__)


async def discover(
    file: GatewayFile, headers: Mapping[str, Mapping[str, str]], session: aiohttp.ClientSession
) -> dict[str, list[Target]]:
    """The file's models, and for each provider with `discover` those of its /v1/models.

    Where the file has an entity, its own targets count. A provider that does not answer is named in
    the log and has no more than the file's: the others are of use without it.
    """
    asked = {name: one for name, one in file.providers.items() if one.discover}
    lists = await asyncio.gather(
        *(_listed(name, one, headers[name], session) for name, one in asked.items())
    )
    models: dict[str, list[Target]] = {name: list(targets) for name, targets in file.models.items()}
    for (name, provider), listed in zip(asked.items(), lists, strict=True):
        for model in listed:
            entity = would_do(f"{provider.discover}/{model}", [provider.discover or ""])
            if entity not in file.models:
                models.setdefault(entity, []).append(Target(provider=name, model=model))
    return models


async def _listed(
    name: str, provider: Provider, headers: Mapping[str, str], session: aiohttp.ClientSession
) -> list[str]:
    logger.info("asking %s for its models, for %g s at most", name, provider.wait)
    url, timeout = f"{provider.base_url}/models", aiohttp.ClientTimeout(total=provider.wait)
    try:
        async with session.get(
            url, headers=headers, timeout=timeout, raise_for_status=True
        ) as answer:
            return [str(model["id"]) for model in json.loads(await answer.read())["data"]]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        reason = type(error).__name__
        logger.warning("%s does not list its models (%s): start again when it does", name, reason)
        return []
