import json
from typing import Any

import pytest

from vllm_worker.errors import BadRequest
from vllm_worker.gateway.fields import SHOWN, check, completed, fingerprint, shown

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


@pytest.mark.parametrize(
    ("path", "more", "field"),
    [
        ("/v1/chat/completions", {"stream": 1}, "stream"),
        ("/v1/chat/completions", {"stream": "true"}, "stream"),
        ("/v1/completions", {"stream": [1]}, "stream"),
        ("/v1/chat/completions", {"messages": 5}, "messages"),
        ("/v1/messages", {"messages": ["x"]}, "messages"),
        ("/v1/embeddings", {"encoding_format": "bytes"}, "encoding_format"),
        ("/v1/messages", {"tools": [{"type": "advisor_20260301", "model": "x"}]}, "tools"),
        ("/v1/messages", {"tools": [{"name": "a"}, {"type": None}]}, "tools"),
        ("/v1/messages", {"tools": {"type": "advisor_20260301"}}, "tools"),
    ],
)
def test_what_litellm_would_misunderstand_is_refused(path: str, more: Any, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check(path, {"messages": []} | more)
    assert refused.value.param == field


@pytest.mark.parametrize("path", SHOWN)
def test_ordinary_requests_are_not(path: str) -> None:
    tools = [{"name": "a", "input_schema": {}}, {"type": "custom", "name": "b"}]
    check(path, {"messages": [], "stream": None, "encoding_format": "float", "tools": tools})
    check(path, {"messages": [{}], "stream": True})
