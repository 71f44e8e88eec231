"""Refusals of the HTTP door, and errors in the form that the client of a path reads."""

from starlette.responses import JSONResponse, Response

from vllm_worker.errors import JobError

_ANTHROPIC = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error",
}  # fmt: skip


class Unauthorized(JobError):
    """The request has no key, or none of this worker's."""

    code = 401
    type = "AuthenticationError"

    def __init__(self) -> None:
        super().__init__(
            "The API key is missing or wrong: send Authorization: Bearer KEY, or x-api-key: KEY."
        )


class Busy(JobError):
    """The worker holds as many requests as it may; another may have room."""

    code = 429
    type = "RateLimitError"

    def __init__(self) -> None:
        super().__init__("This worker has as many requests as it takes (MAX_CONCURRENCY).")


class NotReady(JobError):
    """The worker is starting, or about to end."""

    code = 503
    type = "ServiceUnavailableError"

    def __init__(self) -> None:
        super().__init__("This worker is not ready for requests. Please send it again.")


def error_response(error: JobError, path: str) -> Response:
    """In Anthropic's form for its routes, else in OpenAI's."""
    headers = {"retry-after": "1"} if error.code in (429, 503) else {}
    if error.code == 401:
        headers["www-authenticate"] = "Bearer"
    content: dict[str, object] = {"error": error.as_object()}
    if path.startswith("/v1/messages"):
        kind = _ANTHROPIC.get(error.code, "api_error")
        content = {"type": "error", "error": {"type": kind, "message": error.message}}
    return JSONResponse(content, error.code, headers)
