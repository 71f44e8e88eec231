"""What the routes need of an engine. Free of vLLM, so that importing a route costs nothing."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vllm_worker.asgi import Response
from vllm_worker.jobs import NativeJob


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new in one of a job's outputs.

    `text` is the text that `tokens` new tokens added. The two need not match one to one: a token
    may end in the middle of a character, and then its text comes with a later one.
    """

    index: int
    text: str
    tokens: int
    input_tokens: int
    finish_reason: str | None = None

    def split(self, tokens: int) -> tuple["Delta", "Delta"]:
        """The text goes with the first part; where in it the tokens end is not known."""
        first = replace(self, tokens=tokens, finish_reason=None)
        return first, replace(self, text="", tokens=self.tokens - tokens)


class Engine(Protocol):
    """One model, ready to answer requests in the event loop that started it."""

    @property
    def dead(self) -> bool:
        """Whether the engine is gone for good."""
        ...

    async def start(self) -> None:
        """Gets ready inside the loop that will serve."""
        ...

    async def call(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A request to vLLM's application; `body` is sent as JSON. The response must be closed."""
        ...

    def generate(self, job: NativeJob, request_id: str) -> AsyncGenerator[Delta]:
        """Deltas as they come for a streamed job, else one per output at the end.

        Closing the generator aborts the request. Raises JobError.
        """
        ...

    def shutdown(self) -> None:
        """Ends the engine's processes."""
        ...
