"""What LiteLLM asks of the gateway: whose key it is, what it may ask for, and what became of it.

LiteLLM finds `who_asks` and `hooks` by their names, in its configuration; app.py gives them the
file first.
"""

import logging
from collections.abc import Mapping
from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import ProxyException, UserAPIKeyAuth
from starlette.requests import Request

from vllm_worker.gateway.access import Access, Refused
from vllm_worker.gateway.fields import FORM, fingerprint
from vllm_worker.gateway.file import GatewayFile
from vllm_worker.gateway.front import PROVIDER_HEADER
from vllm_worker.gateway.litellm_config import PINNED
from vllm_worker.gateway.passage import TOKEN_HEADER, Passage, Passages

logger = logging.getLogger(__name__)

_LITELLMS = {
    "litellm_call_id", "litellm_logging_obj", "litellm_metadata", "metadata", "secret_fields",
    "proxy_server_request", "client_side_timeout",
}  # fmt: skip
"""What LiteLLM adds to a form's fields."""


def _as_litellm(refused: Refused) -> ProxyException:
    exception = ProxyException(refused.message, refused.type, refused.param, refused.status)
    exception.status_code = refused.status  # where LiteLLM's transcriptions look
    return exception


async def who_asks(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """The key's name and limits. Raises ProxyException (401)."""
    try:
        name = hooks.access.name_of((api_key or "").removeprefix("Bearer "))
    except Refused as refused:
        raise _as_litellm(refused) from None
    key = hooks.access.key(name)
    return UserAPIKeyAuth(
        api_key=name,
        key_alias=name,
        rpm_limit=key and key.requests_per_minute,
        tpm_limit=key and key.tokens_per_minute,
    )


class Hooks(CustomLogger):  # type: ignore[misc]
    """Called by LiteLLM around each request."""

    file: GatewayFile
    access: Access
    passages: Passages

    def know(self, file: GatewayFile, access: Access, passages: Passages) -> None:
        """To be called before LiteLLM starts, which makes no instance of its own."""
        self.file = file
        self.access = access
        self.passages = passages

    async def async_pre_call_hook(
        self, user_api_key_dict: UserAPIKeyAuth, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Raises ProxyException for a model that the key may not ask for."""
        name, model = user_api_key_dict.key_alias or "", str(data.get("model", ""))
        headers = data.get("proxy_server_request", {}).get("headers", {})
        try:
            passage = self._passage(headers.get(TOKEN_HEADER), data)
            if provider := headers.get(PROVIDER_HEADER):
                self.access.check_at(provider, name, model)
                data["model"] = f"{PINNED}{provider}/{model}"
            else:
                self.access.check(name, model)
        except Refused as refused:
            raise _as_litellm(refused) from None
        self._set_cache(name, data, passage)
        passage.open(self._cache_header(False))
        if passage.body is not None:  # a form would have it as a field
            data["extra_headers"] = {TOKEN_HEADER: headers[TOKEN_HEADER]}
        return data

    def _passage(self, token: str, data: Mapping[str, Any]) -> Passage:
        """The request's. Raises Refused for a form's field that LiteLLM might take for its own."""
        passage = self.passages.get(token)
        assert passage, "the front makes one for each request"
        more = sorted(set(data) - FORM - _LITELLMS) if passage.body is None else []
        if more:
            raise Refused(400, f"{more[0]} is not among {', '.join(sorted(FORM))}.", more[0])
        return passage

    def _cache_header(self, hit: bool) -> dict[str, str]:
        return {"x-cache": "hit" if hit else "miss"} if self.file.cache.kind != "off" else {}

    def _set_cache(self, name: str, data: dict[str, Any], passage: Passage) -> None:
        asked = data.get("cache")
        wanted = dict(asked) if isinstance(asked, dict) else {}
        if wanted.get("ttl"):
            wanted["use-cache"] = True
        whose = "" if self.file.cache.shared else name
        wanted["namespace"] = f"{whose}:{fingerprint(passage.body or {})}"
        data["cache"] = wanted

    async def async_filter_listed_models(
        self, user_api_key_dict: UserAPIKeyAuth, model_names: list[str]
    ) -> list[str]:
        name = user_api_key_dict.key_alias or ""
        return [
            model
            for model in model_names
            if not model.startswith(PINNED) and self.access.sees(name, model)
        ]

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: UserAPIKeyAuth,
        response: object,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str]:
        if response is None:
            return {}
        hidden = getattr(response, "_hidden_params", None) or {}
        hit = bool(hidden.get("cache_hit"))
        headers = self._cache_header(hit)
        provider = _provider(hidden.get("model_id") or (litellm_call_info or {}).get("model_id"))
        return headers if hit or not provider else headers | {"x-provider": provider}

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        self._log(kwargs, "answered", (end_time - start_time).total_seconds())

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        error = kwargs.get("exception")
        outcome = f"failed with {getattr(error, 'status_code', None) or type(error).__name__}"
        self._log(kwargs, outcome, (end_time - start_time).total_seconds())

    def _log(self, kwargs: dict[str, Any], outcome: str, seconds: float) -> None:
        """One line, without text."""
        facts = kwargs.get("standard_logging_object") or {}
        metadata = facts.get("metadata") or {}
        provider = _provider(facts.get("model_id"))
        price = self.file.providers[provider].price if provider in self.file.providers else 0
        logger.info(
            "%s: %s from %s, %s, %d + %d tokens, %.2f s, $%.6f%s",
            metadata.get("user_api_key_alias"),
            facts.get("model_group"),
            provider or "no provider",
            outcome,
            facts.get("prompt_tokens", 0),
            facts.get("completion_tokens", 0),
            seconds,
            0 if facts.get("cache_hit") else price * seconds,
            ", cached" if facts.get("cache_hit") else "",
        )


def _provider(deployment: object) -> str:
    """Of a deployment's id, as litellm_config.py makes them."""
    return str(deployment or "").rpartition(" at ")[2]


hooks = Hooks()
