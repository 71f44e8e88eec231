"""What LiteLLM is shown of a request.

LiteLLM takes hundreds of fields from a request's body: other models to fall back to, retries, keys
of the cache, headers. So it is shown what it needs, and the provider gets the client's own body,
with the model's name there.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

_ALWAYS = {"model", "stream", "stream_options", "cache", "user"}
SHOWN: Mapping[str, set[str]] = {
    "/v1/chat/completions": _ALWAYS | {"messages"},
    "/v1/completions": _ALWAYS | {"prompt"},
    "/v1/embeddings": _ALWAYS | {"input", "encoding_format", "dimensions"},
    "/v1/responses": _ALWAYS | {"input", "previous_response_id", "store", "background"},
    "/v1/messages": _ALWAYS | {
        "messages", "max_tokens", "system", "stop_sequences", "temperature", "top_k", "top_p",
        "tools", "tool_choice", "thinking",
    },
}  # fmt: skip
"""By path. Those of messages are all of Anthropic's, since LiteLLM translates them."""

FORMS = {"/v1/audio/transcriptions"}
"""Routes that take a form."""
FORM = {
    "model", "file", "language", "prompt", "response_format", "temperature", "stream",
    "timestamp_granularities", "timestamp_granularities[]",
}  # fmt: skip
"""Its fields: LiteLLM reads a form by itself."""

_OURS = {"cache"}


def shown(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in SHOWN[path]}


def completed(body: Mapping[str, Any], sent: bytes) -> bytes:
    """The client's body with what LiteLLM sends, which has the model's name at the provider."""
    own = {name: value for name, value in body.items() if name not in _OURS}
    return json.dumps(own | json.loads(sent)).encode()


def fingerprint(body: Mapping[str, Any]) -> str:
    """The same for requests that LiteLLM may answer alike.

    Of embeddings LiteLLM caches each input by itself, and so `input` is its to tell apart.
    """
    told = {name: value for name, value in body.items() if name not in _OURS | {"input"}}
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
