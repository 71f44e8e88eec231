"""Errors as Anthropic's clients read them, on Anthropic's routes."""

import json
from collections.abc import Mapping
from typing import Any

_ROUTES = "/v1/messages"
_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip
_DETAILS = {"thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}}
"""By the field that is wrong. The tool runner of Anthropic's SDK then goes on without a thread."""


def is_anthropics(path: str) -> bool:
    """Whether Anthropic's clients ask there."""
    return path.startswith(_ROUTES)


def error_event(path: str, status: int, error: Mapping[str, Any]) -> str:
    """The server-sent event that ends a stream. Anthropic's clients read events with a name."""
    name = "event: error\n" if is_anthropics(path) else ""
    return f"{name}data: {json.dumps(error_body(path, status, error))}\n\n"


def error_body(path: str, status: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an answer with OpenAI's `error` object: in Anthropic's form on its routes
    (https://docs.anthropic.com/en/api/errors), else in OpenAI's."""
    if not is_anthropics(path):
        return {"error": error}
    kind = _TYPES.get(status, "api_error")
    described = {"type": kind, "message": error.get("message", "")}
    if details := _DETAILS.get(str(error.get("param"))):
        described["details"] = details
    return {"type": "error", "error": described}
