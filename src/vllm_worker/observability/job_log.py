"""The job log: one line at the end of each job, and one summary line a minute.

Nothing in them was written by a client.
"""

import asyncio
import logging
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

_SUMMARY_S = 60


@dataclass(slots=True)
class JobRecord:
    """The course of one job. The engine counts its tokens; times are in seconds."""

    job_id: str
    model: str
    kind: str = "unreadable"
    outcome: str = "cancelled"
    """Or completed, or failed. It stays when the job ends before it has an answer."""
    code: int | None = None
    """With which it failed."""
    key: str = ""
    """The name of the API key that it came with."""
    chunks: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    begun: float = field(default_factory=time.monotonic)
    first_token: float | None = None

    def count_prompt(self, tokens: int, adapter: str | None) -> None:
        self.input_tokens += tokens
        self.model = adapter or self.model

    def count_output(self, tokens: int) -> None:
        if tokens and self.first_token is None:
            self.first_token = time.monotonic() - self.begun
        self.output_tokens += tokens

    def fail(self, code: int) -> None:
        self.outcome, self.code = "failed", code

    def cancel(self) -> None:
        self.outcome, self.code = "cancelled", None

    @property
    def ending(self) -> str:
        """The outcome, with the code of a failure."""
        return self.outcome if self.code is None else f"failed with {self.code}"

    @property
    def seconds(self) -> float:
        """Since the job's start."""
        return time.monotonic() - self.begun

    def __str__(self) -> str:
        first = "" if self.first_token is None else f", first token after {self.first_token:.3f} s"
        key = f", key {self.key}" if self.key else ""
        return (
            f"job {self.job_id}: {self.kind}, model {self.model}{key}, "
            f"{self.input_tokens} tokens in, {self.output_tokens} out{first}, "
            f"{self.seconds:.3f} s in all, {self.ending}"
        )


class JobLog:
    """Write the lines of the job log."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._tokens = [0, 0]

    def end(self, record: JobRecord, cancelled: bool) -> None:
        """The SDK is done with the job; it says by itself which outputs RunPod did not take."""
        if cancelled:
            record.cancel()
        logger.info("%s", record)
        self._outcomes[record.ending] += 1
        self._tokens[0] += record.input_tokens
        self._tokens[1] += record.output_tokens

    async def summarise(self) -> None:
        """Log a summary every minute, forever; silent while there is no work."""
        while True:
            await asyncio.sleep(_SUMMARY_S)
            if self._outcomes:
                outcomes = ", ".join(f"{n} {what}" for what, n in sorted(self._outcomes.items()))
                logger.info(
                    "jobs that ended in the last minute: %s; %d tokens in, %d out",
                    outcomes,
                    *self._tokens,
                )
                self._outcomes.clear()
                self._tokens = [0, 0]


def error_location(error: BaseException) -> str:
    """The kind of an error and where it came from, without its text, which may quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} in {last.name} ({Path(last.filename).name}:{last.lineno})"
