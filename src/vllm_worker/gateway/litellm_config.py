"""The gateway's file as LiteLLM's configuration: https://docs.litellm.ai/docs/proxy/configs."""

from collections.abc import Iterable, Mapping
from typing import Any

from vllm_worker.gateway.file import Cache, GatewayFile, Target

HOOKS = "vllm_worker.gateway.proxy.hooks"
PINNED = "provider:"
"""Before the name of a provider, and a slash and a model's name there: a model of LiteLLM's."""
_COOL_DOWN_S = 5
"""After a failure a provider is left out for so long, and then asked again."""
_FOR_EVER_S = 10 * 365 * 24 * 3600


def litellm_config(
    file: GatewayFile, models: Mapping[str, list[Target]], upstream: str, password: str
) -> dict[str, Any]:
    """`models` are those of the file and those that were discovered, `upstream` the URL of
    upstream.py's application, `password` what it asks for.
    """
    deployments = [
        _deployment(entity, target, upstream, password)
        for entity, targets in models.items()
        for target in targets
    ]
    pinned = [
        _deployment(f"{PINNED}{name}/*", Target(provider=name, model="*"), upstream, password)
        for name in file.providers
    ]
    return {
        "model_list": deployments + pinned,
        "router_settings": {
            "num_retries": 0,
            "cooldown_time": _COOL_DOWN_S,
            "allowed_fails": 0,
            "enable_weighted_failover": True,
            "max_fallbacks": max(map(len, models.values()), default=1),
        },
        "litellm_settings": {
            "callbacks": ["prometheus", f"{HOOKS}.hooks"],
            "drop_params": False,
            "turn_off_message_logging": True,
            "cache": file.cache.kind != "off",
            **({"cache_params": dict(_cache(file.cache))} if file.cache.kind != "off" else {}),
        },
        "general_settings": {
            "custom_auth": f"{HOOKS}.who_asks",
            "disable_spend_logs": True,
            "disable_error_logs": True,
        },
    }


def _deployment(entity: str, target: Target, upstream: str, password: str) -> dict[str, Any]:
    return {
        "model_name": entity,
        "litellm_params": {
            "model": f"openai/{target.model}",
            "api_base": f"{upstream}/{target.provider}/v1",
            "api_key": password,
            "weight": target.weight,
            "order": target.order,
            "max_retries": 0,
        },
        "model_info": {"id": f"{entity} at {target.provider}", "provider": target.provider},
    }


def _cache(cache: Cache) -> Iterable[tuple[str, Any]]:
    yield "type", "local" if cache.kind == "memory" else cache.kind
    # Else LiteLLM caches whatever does not ask not to be.
    yield "mode", "default_on" if cache.ttl else "default_off"
    yield "ttl", cache.ttl or _FOR_EVER_S
    yield "max_messages", None
    if cache.folder:
        yield "disk_cache_dir", str(cache.folder)
    if cache.url:
        yield "url", f"os.environ/{cache.url}"
