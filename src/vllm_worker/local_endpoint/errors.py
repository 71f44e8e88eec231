"""OpenAI's form of an error of the endpoint itself."""

from typing import Any

HTTP_SERVER_ERROR = 500


def openai_error(status: int, message: str) -> dict[str, Any]:
    """OpenAI's error object, with the HTTP status in `code` as the worker's errors have it."""
    kind = "server_error" if status >= HTTP_SERVER_ERROR else "invalid_request_error"
    return {"message": message, "type": kind, "param": None, "code": status}
