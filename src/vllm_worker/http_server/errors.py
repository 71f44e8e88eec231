"""Refusals of the HTTP door, and errors in the form that the client of a path reads."""

import json

from starlette.responses import Response

from vllm_worker.errors import JobError, MethodNotAllowed
from vllm_worker.web import anthropic
from vllm_worker.web.keys import WITHOUT_KEY


class Unauthorized(JobError):
    """The request has no key, or none of this worker's."""

    code = 401
    type = "AuthenticationError"

    def __init__(self) -> None:
        super().__init__(WITHOUT_KEY)


class Busy(JobError):
    """The worker holds as many requests as it may; another may have room."""

    code = 429
    type = "RateLimitError"

    def __init__(self) -> None:
        super().__init__("This worker is at its limit of concurrent requests (MAX_CONCURRENCY).")


class NotReady(JobError):
    """The worker is starting, or about to end."""

    code = 503
    type = "ServiceUnavailableError"

    def __init__(self) -> None:
        super().__init__("This worker is starting, or about to end. Retry in a moment.")


class TooSlow(JobError):
    """The body of the request did not come in time."""

    code = 408
    type = "RequestTimeoutError"

    def __init__(self) -> None:
        super().__init__("The body of the request did not come in time.")


class UpgradeRefused(JobError):
    """The server stops reading where a client asks for another protocol, so the body is lost."""

    code = 400
    type = "BadRequestError"

    def __init__(self) -> None:
        super().__init__("This worker speaks HTTP/1.1 only. Send no Upgrade header.", "upgrade")


def error_response(error: JobError, path: str) -> Response:
    """In Anthropic's form for its routes, else in OpenAI's."""
    headers = {"retry-after": "1"} if error.code in (429, 503) else {}
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
    if error.code == 401:
        headers["www-authenticate"] = "Bearer"
    if error.code in (401, 408) or isinstance(error, UpgradeRefused):
        headers["connection"] = "close"  # nobody waits for the rest of the body
    body = anthropic.error_body(path, error.code, error.as_object())
    content = json.dumps(body)  # in ASCII: it may quote half a character
    return Response(content, error.code, headers, "application/json")


def error_event(error: JobError, path: str) -> bytes:
    """The event that ends a stream."""
    return anthropic.error_event(path, error.code, error.as_object()).encode()
