import json

import pytest

from vllm_worker.gateway.fields import SHOWN, completed, fingerprint, shown

CHAT = {"model": "default/m", "messages": [], "temperature": 1, "num_retries": 7, "cache": {}}


def test_litellm_sees_the_model_the_messages_and_the_cache() -> None:
    assert shown("/v1/chat/completions", CHAT) == {
        "model": "default/m",
        "messages": [],
        "cache": {},
    }


@pytest.mark.parametrize(
    "field",
    [
        "fallbacks", "context_window_fallbacks", "router_settings_override", "extra_body",
        "timeout", "extra_headers", "headers", "cache_key", "num_retries", "custom_llm_provider",
        "metadata", "specific_deployment", "api_base", "mock_response", "tags", "litellm_metadata",
    ],
)  # fmt: skip
def test_no_route_shows_it_what_it_would_obey(field: str) -> None:
    assert [path for path in SHOWN if shown(path, {field: 1})] == []


def test_the_provider_gets_the_rest_but_for_our_own() -> None:
    sent = json.loads(completed(CHAT, b'{"model": "m", "stream_options": {}}'))
    assert sent == {
        "model": "m", "messages": [], "temperature": 1, "num_retries": 7, "stream_options": {}
    }  # fmt: skip


def test_answers_of_different_requests_are_told_apart() -> None:
    assert fingerprint(CHAT) == fingerprint({**CHAT, "cache": {"ttl": 9}, "input": "x"})
    assert fingerprint(CHAT) != fingerprint({**CHAT, "temperature": 0})
