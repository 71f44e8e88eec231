"""The engine as the routes see it. Free of vLLM, so that importing a route costs nothing."""

from collections.abc import AsyncGenerator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol, TypedDict

from vllm_worker.decoding.parameters import DEFAULT, DecodingParams
from vllm_worker.engine.asgi_client import Response
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.streaming.flow_control import FlowControl
from vllm_worker.streaming.shortcut import Shortcut

BACKEND = "vllm_worker_backend"
"""Key of SamplingParams.extra_args: the backend of structured outputs for the request."""


class AlternativeLogprob(TypedDict):
    """A token and its log-probability."""

    token: str
    logprob: float


class TokenLogprob(AlternativeLogprob):
    """The token that was generated, and the likeliest ones in its place, the likeliest first.

    The form is that of OpenAI's chat completions.
    """

    top_logprobs: list[AlternativeLogprob]


@dataclass(frozen=True, slots=True)
class Delta:
    """The new part of one of a job's choices.

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
    """Cumulative log-probability, where the decoding parameters need it."""
    logprobs: list[TokenLogprob] | None = None
    """An entry for each token, where the job asks for them."""

    def split(self, tokens: int) -> tuple["Delta", "Delta"]:
        """A text that stands for all tokens goes with the first part."""
        logprobs = self.logprobs
        first = replace(
            self,
            texts=self.texts[:tokens],
            tokens=tokens,
            finish_reason=None,
            logprobs=logprobs and logprobs[:tokens],
        )
        rest = replace(
            self,
            texts=self.texts[tokens:],
            tokens=self.tokens - tokens,
            logprobs=logprobs and logprobs[tokens:],
        )
        return first, rest


class TokenUsage(Protocol):
    """Counts the tokens of a job."""

    def count_prompt(self, tokens: int, adapter: str | None) -> None: ...

    def count_output(self, tokens: int) -> None: ...


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a request carries to the engine besides the fields of vLLM's own types.

    `decoding` steers a beam search, `flow` the tokens of a stream, and `usage` counts them. A
    stream with a `shortcut` leaves by it where it can. With `strict_if_possible` the arguments of
    calls follow their schemas where those can be followed.
    """

    request_id: str
    usage: TokenUsage | None = None
    decoding: DecodingParams = DEFAULT
    flow: FlowControl | None = None
    shortcut: Shortcut | None = None
    strict_if_possible: bool = False


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)
"""The request that is answered in this context: on its way through vLLM it can only travel here."""


@dataclass(frozen=True, slots=True)
class VLLMRequest:
    """A request to vLLM's application: `content` is the body, of the type that `headers` name."""

    method: str
    target: str
    content: bytes
    headers: Mapping[str, str]


class Engine(Protocol):
    """One model, ready to answer requests in the event loop that started it."""

    @property
    def dead(self) -> bool:
        """Whether the engine is gone for good."""
        ...

    @property
    def capacity(self) -> int:
        """Number of requests as long as the model's context that it can run at once, at least 1."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens that a prompt and its answer have room for together."""
        ...

    async def start(self) -> None:
        """Get ready inside the loop that will serve."""
        ...

    async def ping(self) -> None:
        """Return when the engine's core has answered; it may be busy with a step first."""
        ...

    def mark_dead(self) -> None:
        """Take an engine that does not answer as dead: what waits for it fails at once."""
        ...

    async def call(self, request: VLLMRequest, context: RequestContext) -> Response:
        """Send a request to vLLM's application. The response must be closed."""
        ...

    def generate(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Delta]:
        """Deltas for a streamed job, as they come or by the flow control that is given; else one
        per output at the end: as many as are sampled or as the search finds, best beam first.

        Closing the generator aborts the request. Raises JobError.
        """
        ...

    def shutdown(self) -> None:
        """End the engine's processes."""
        ...
