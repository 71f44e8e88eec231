from pathlib import Path
from typing import Any

import pytest

from vllm_worker.gateway.file import Cache, GatewayFile
from vllm_worker.gateway.litellm_config import PINNED, litellm_config

UPSTREAM = "http://127.0.0.1:1/upstream"
FILE = GatewayFile.model_validate(
    {
        "providers": {
            "cold": {"endpoint": "abc", "key": "RUNPOD_API_KEY", "wait": 20},
            "pod": {"url": "http://pod:8000/v1/", "wait": 5},
        },
        "models": {
            "default/llama": [
                {"provider": "cold", "model": "meta/Llama", "weight": 3},
                {"provider": "pod", "model": "llama", "order": 2},
            ]
        },
    }
)


def config(**more: Any) -> dict[str, Any]:
    file = FILE.model_copy(update=more)
    return litellm_config(file, file.models, UPSTREAM, "password")


def test_a_target_is_a_deployment_of_its_entity() -> None:
    cold, pod, *_ = config()["model_list"]
    assert cold["model_name"] == pod["model_name"] == "default/llama"
    assert cold["litellm_params"] == {
        "model": "openai/meta/Llama",
        "api_base": f"{UPSTREAM}/cold/v1",
        "api_key": "password",
        "weight": 3,
        "order": 1,
        "max_retries": 0,
    }
    assert pod["litellm_params"]["api_base"] == f"{UPSTREAM}/pod/v1"
    assert pod["model_info"] == {"id": "default/llama at pod", "provider": "pod"}


def test_every_provider_can_be_asked_by_its_name() -> None:
    names = [deployment["model_name"] for deployment in config()["model_list"]]
    assert names[2:] == [f"{PINNED}cold/*", f"{PINNED}pod/*"]


@pytest.mark.parametrize(
    ("cache", "params"),
    [
        (Cache(), None),
        (Cache(kind="memory"), {"type": "local", "mode": "default_off"}),
        (Cache(kind="memory", ttl=60), {"type": "local", "mode": "default_on", "ttl": 60}),
        (Cache(kind="disk", folder=Path("/c")), {"type": "disk", "disk_cache_dir": "/c"}),
        (Cache(kind="redis", url="REDIS_URL"), {"type": "redis", "url": "os.environ/REDIS_URL"}),
    ],
)
def test_the_cache(cache: Cache, params: dict[str, Any] | None) -> None:
    settings = config(cache=cache)["litellm_settings"]
    assert settings["cache"] == bool(params)
    assert (params or {}).items() <= settings.get("cache_params", {}).items()
