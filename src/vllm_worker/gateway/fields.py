"""What LiteLLM is shown of a request.

LiteLLM takes hundreds of fields from a request's body: other models to fall back to, retries, keys
of the cache, headers. So it is shown what it needs, and the provider gets the client's own body,
with the model's name there.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from vllm_worker.errors import BadRequest

_ALWAYS = {"model", "stream", "stream_options", "cache", "user"}
SHOWN: Mapping[str, set[str]] = {
    "/v1/chat/completions": _ALWAYS | {"messages"},
    "/v1/completions": _ALWAYS | {"prompt"},
    "/v1/embeddings": _ALWAYS | {"input", "encoding_format"},
    "/v1/responses": _ALWAYS | {"input", "previous_response_id", "store", "background"},
    "/v1/messages": _ALWAYS | {
        "messages", "max_tokens", "system", "stop_sequences", "temperature", "top_k", "top_p",
        "tools", "tool_choice",
    },
}  # fmt: skip
"""By path. Those of messages are Anthropic's, since LiteLLM translates them; it refuses `thinking`
for models that it does not know.
"""

FORMS = {"/v1/audio/transcriptions"}
"""Routes that take a form."""
FORM = {
    "model", "file", "language", "prompt", "response_format", "temperature", "stream",
    "timestamp_granularities", "timestamp_granularities[]",
}  # fmt: skip
"""Its fields: LiteLLM reads a form by itself."""

ASKED = {*SHOWN, *FORMS}
"""Routes that ask a model."""

_OURS = {"cache"}


def check(path: str, body: Mapping[str, Any]) -> None:
    """Raises BadRequest for what LiteLLM does not understand, and would take for a failure of the
    provider, or what it would ask other models for.
    """
    if not isinstance(body.get("stream"), bool | None):
        raise BadRequest("stream has to be true or false.", "stream")
    if "messages" in SHOWN[path] and not _are_objects(body.get("messages")):
        raise BadRequest("messages has to be a list of objects.", "messages")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise BadRequest("encoding_format has to be float or base64.", "encoding_format")
    if path == "/v1/messages":
        tools = body.get("tools") or []
        if not _are_objects(tools) or any(tool.get("type", "custom") != "custom" for tool in tools):
            raise BadRequest("tools are custom ones here, without another type.", "tools")


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


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
