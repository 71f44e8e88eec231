"""The exceptions of the worker, and what a client sees of each.

How it is sent is up to the door: `http_server/errors.py` adds status and headers.

WorkerError
├── ConfigurationError        wrong settings: the worker does not start
├── StartFailure              the settings are fine, and yet the engine could not be built
└── JobError                  one job fails: has an HTTP status and OpenAI's error fields
    ├── BadRequest            400, the job's input is wrong
    ├── RouteRefused          403, the route is closed to jobs
    ├── NoSuchRoute           404, there is no such route, or not for the loaded model
    ├── NoSuchModel           404, the worker serves no model of this name
    ├── MethodNotAllowed      405, it has, but not for this method
    ├── TooLarge              413, the job or its output is over a limit
    ├── EngineFailure         500, the engine could not finish this job
    ├── EngineDead            503, the engine is gone and the worker with it
    ├── ShuttingDown          503, the worker ends before this job is done
    └── VLLMError             an error body of vLLM's own, passed through with its status
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any


class WorkerError(Exception):
    """Anything that the worker raises on purpose."""


class ConfigurationError(WorkerError):
    """Wrong settings, all of them at once, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class StartFailure(WorkerError):
    """The engine could not be built."""


class JobError(WorkerError):
    """An error that a client sees, with the fields of OpenAI's error object.

    `code` is the HTTP status as a number, which is how vLLM fills that field.
    """

    code = 500
    type = "InternalServerError"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def as_object(self) -> dict[str, Any]:
        """`{"message", "type", "param", "code"}`, the inside of OpenAI's error body."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }

    def as_output(self) -> dict[str, str]:
        """The job output that makes RunPod fail the job.

        A JSON string, because the SDK applies `str()` to whatever is under "error". In ASCII,
        because an unpaired surrogate, quoted from an input, would make the SDK lose the job.
        """
        return {"error": json.dumps(self.as_object())}

    def as_chunk(self) -> dict[str, Any]:
        """The last chunk of a native stream that fails.

        Clients of RunPod's /stream see chunks alone, and what has "error" is no chunk for the SDK.
        """
        message = self.message.encode("utf-8", "replace").decode()  # it may quote half a character
        return {"choices": [], "failure": self.as_object() | {"message": message}}


class BadRequest(JobError):
    """The job's input is wrong; `param` names the field, as `outer.inner`."""

    code = 400
    type = "BadRequestError"


class RouteRefused(JobError):
    """The route is closed to jobs."""

    code = 403
    type = "PermissionDeniedError"


class NoSuchRoute(JobError):
    """There is no such route, or vLLM's application does not have it for the loaded model."""

    code = 404
    type = "NotFoundError"


class NoSuchModel(JobError):
    """The worker serves no model of this name; in vLLM's words."""

    code = 404
    type = "NotFoundError"

    def __init__(self, name: str) -> None:
        super().__init__(f"The model `{name}` does not exist.", "model")


class MethodNotAllowed(JobError):
    """The route is there, but not for this method; `allowed` is HTTP's Allow header."""

    code = 405
    type = "MethodNotAllowedError"

    def __init__(self, route: str, method: str, allowed: str, hint: str = "") -> None:
        self.allowed = allowed
        super().__init__(f"{route} takes {allowed}, not {method}.{hint}", "method")


class TooLarge(JobError):
    """The job or its output is larger than a limit of this worker."""

    code = 413
    type = "RequestTooLargeError"


class EngineFailure(JobError):
    """The engine failed at this job and may serve the next one."""


class _WorkerGone(JobError):
    """Another worker can do the job, so the status asks for a retry."""

    code = 503
    type = "ServiceUnavailableError"
    why = ""

    def __init__(self) -> None:
        super().__init__(f"{self.why} Please send the job again.")


class EngineDead(_WorkerGone):
    """The engine is gone, and the worker with it."""

    why = "The engine of this worker has died."


class ShuttingDown(_WorkerGone):
    """RunPod has ended this worker, and the time in which jobs may finish is over."""

    why = "This worker was shut down before the job was done."


class VLLMError(JobError):
    """An error that vLLM's application answered."""

    def __init__(self, status: int, body: Any) -> None:
        error = body.get("error", body) if isinstance(body, dict) else {"message": str(body)}
        if not isinstance(error, dict):
            error = {"message": str(error)}
        super().__init__(str(error.get("message") or f"HTTP status {status}"), error.get("param"))
        self.code = status
        self.type = str(error.get("type") or "InternalServerError")


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean "…"?` for a name that is close to a known one, else nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f' Did you mean "{matches[0]}"?' if matches else ""
