"""What can go wrong when an endpoint is asked, each as one line and an exit code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """How the command line ends. 2 is also what it ends with when its options are wrong."""

    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    KEY_REFUSED = 4
    INTERRUPTED = 130


class ClientError(Exception):
    """One line that says what happened and what to do about it."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def refusal(status: int, body: Any, url: str, retry_after: str | None = None) -> ClientError:
    """The error for an answer with an HTTP status of 400 or more. `body` is JSON or text."""
    said = said_in(body)
    if status in (401, 403):
        reason = f" ({said})" if said else ""
        message = f"{url} does not accept the key{reason}; pass --api-key or set it in a profile"
        return ClientError(message, ExitCode.KEY_REFUSED)
    if status == 404 and not said:
        return ClientError(f"there is no endpoint at {url}; `vllm-worker doctor` looks further")
    if status == 503 and not said:
        return ClientError(f"{url} says that its worker is ending or has lost its engine")
    if status == 429:
        wait = f" Try again in {retry_after} s." if retry_after else " Try again later."
        return ClientError((said or "The endpoint is busy.") + wait)
    return ClientError(said or f"{url} answered {status} without a reason")


def said_in(body: Any) -> str:
    """The sentence in an error's body: OpenAI's form, Anthropic's, RunPod's, FastAPI's, or text."""
    if isinstance(body, str):
        try:
            inner = json.loads(body)
        except (ValueError, RecursionError):
            inner = None
        if isinstance(inner, dict | list | str):
            return said_in(inner)
        plain = not body.lstrip().startswith("<")  # a proxy's page
        return " ".join(body.split())[:500] if plain else ""
    if isinstance(body, list):
        return "; ".join(filter(None, map(said_in, body)))[:500]
    if isinstance(body, dict):
        for name in ("message", "error_message", "error", "detail", "msg", "title"):
            if body.get(name):
                return said_in(body[name])
    return ""


def check_object(answer: Any, url: str) -> dict[str, Any]:
    """The answer, a JSON object. Raises ClientError for something else, and for one that tells of
    an error though its HTTP status is good.
    """
    if not isinstance(answer, dict):
        raise ClientError(f"{url} answered something else than a JSON object")
    if answer.get("error"):
        raise ClientError(said_in(answer) or f"{url} answered an error without a reason")
    return answer


_ODD_ANSWERS = (
    AttributeError, LookupError, TypeError, ValueError,
    ArithmeticError, RecursionError, MemoryError,
)  # fmt: skip
"""What our code raises on an answer that is not as it is agreed."""


@contextmanager
def errors_explained(url: str) -> Iterator[None]:
    """Raise ClientError for what HTTP and OpenAI's client raise inside, and for odd answers."""
    try:
        yield
    except (ClientError, BrokenPipeError):  # the latter of who reads our output
        raise
    except Exception as error:
        if explained := _explained(error, url):
            raise explained from error
        raise


def _explained(error: Exception, url: str) -> ClientError | None:
    import httpx  # takes time, which `--help` need not wait for

    if isinstance(error, httpx.TimeoutException):
        return late(url)
    if isinstance(error, httpx.HTTPError):
        return _unreachable(error, url)
    # Asked for by their names, since importing OpenAI's client takes a second more.
    if type(error).__name__ == "InvalidURL":
        return ClientError(str(error), ExitCode.USAGE)
    if type(error).__module__.startswith("openai"):
        return _of_openai(error, url)
    if isinstance(error, OSError | ImportError):  # a file of certificates, a proxy of a rare kind
        return ClientError(f"{url} cannot be asked: {error}")
    if isinstance(error, _ODD_ANSWERS):
        # A page of HTML with status 200, null for a list: whoever reads it is not asked to check.
        return ClientError(
            f"{url} answered in another form than expected ({type(error).__name__}: {error})"
        )
    return None


def _of_openai(error: Exception, url: str) -> ClientError:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return late(url)
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(error.__cause__ or error, url)
    if isinstance(error, openai.APIStatusError):
        body = error.body or error.response.text
        wait = error.response.headers.get("retry-after")
        return refusal(error.status_code, body, url, wait)
    return ClientError(said_in(getattr(error, "body", None)) or str(error))


def late(url: str) -> ClientError:
    """The error for an answer that takes too long."""
    message = f"{url} did not answer in time; --timeout gives it longer"
    return ClientError(message, ExitCode.UNREACHABLE)


def _unreachable(error: BaseException, url: str) -> ClientError:
    if type(error).__name__ in ("RemoteProtocolError", "ReadError"):
        return cut_off(url)
    message = f"{url} cannot be reached: {error or type(error).__name__}"
    return ClientError(message, ExitCode.UNREACHABLE)


def cut_off(url: str) -> ClientError:
    """The error for an answer of which the end is missing."""
    message = f"{url} ended the connection before its answer was complete"
    return ClientError(message, ExitCode.UNREACHABLE)
