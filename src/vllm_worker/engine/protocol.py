"""What the routes need of an engine. Free of vLLM, so that importing a route costs nothing."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from vllm_worker.decoding.parameters import PLAIN, Selection
from vllm_worker.engine.asgi_client import Response
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.streaming.flow_control import Pace


@dataclass(frozen=True, slots=True)
class Delta:
    """What is new in one of a job's outputs.

    `texts` is what `tokens` new tokens added: a text for each, or one for all of them where their
    parts in it are not known. A token may end in the middle of a character, and then its text comes
    with a later one.
    """

    index: int
    texts: list[str]
    tokens: int
    input_tokens: int
    finish_reason: str | None = None
    logprob: float | None = None
    """Cumulative log-probability, where the selection needs it."""

    def split(self, tokens: int) -> tuple["Delta", "Delta"]:
        """A text that stands for all tokens goes with the first part."""
        first = replace(self, texts=self.texts[:tokens], tokens=tokens, finish_reason=None)
        return first, replace(self, texts=self.texts[tokens:], tokens=self.tokens - tokens)


@dataclass(frozen=True, slots=True)
class VLLMRequest:
    """A request to vLLM's application: `content` is the body, of the type that `headers` name.

    `selection` steers a beam search that the body asks for, `pace` a stream.
    """

    method: str
    target: str
    content: bytes
    headers: Mapping[str, str]
    selection: Selection = PLAIN
    pace: Pace | None = None


class Engine(Protocol):
    """One model, ready to answer requests in the event loop that started it."""

    @property
    def dead(self) -> bool:
        """Whether the engine is gone for good."""
        ...

    async def start(self) -> None:
        """Gets ready inside the loop that will serve."""
        ...

    async def ping(self) -> None:
        """Returns when the engine's core has answered; it may be busy with a step first."""
        ...

    def give_up(self) -> None:
        """Takes an engine that does not answer as dead: what waits for it fails at once."""
        ...

    async def call(self, request: VLLMRequest) -> Response:
        """A request to vLLM's application. The response must be closed."""
        ...

    def generate(
        self,
        job: NativeJob,
        request_id: str,
        selection: Selection = ...,
        pace: Pace | None = ...,
    ) -> AsyncGenerator[Delta]:
        """Deltas for a streamed job, as they come or at the pace that is given; else one per output
        at the end: as many as the selection draws samples or finds beams, best beam first.

        Closing the generator aborts the request. Raises JobError.
        """
        ...

    def shutdown(self) -> None:
        """Ends the engine's processes."""
        ...
