"""Errors of the endpoint itself, and OpenAI's form of an error."""

from typing import Any

HTTP_SERVER_ERROR = 500


class RequestError(Exception):
    """A request that the endpoint does not accept: an HTTP status and a sentence for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def openai_error(status: int, message: str) -> dict[str, Any]:
    """OpenAI's error object, with the HTTP status in `code` as the worker's errors have it."""
    kind = "server_error" if status >= HTTP_SERVER_ERROR else "invalid_request_error"
    return {"message": message, "type": kind, "param": None, "code": status}
