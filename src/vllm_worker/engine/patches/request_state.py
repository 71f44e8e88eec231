"""The engine's part of a pace: vLLM's state of a request, with its tokens held until they are due.

vLLM asks that state for an output at each step; without one, nothing of the step goes any further.
What it does by itself (`stream_interval`) has one fixed interval, and no limit in time.
"""

from contextvars import ContextVar
from itertools import pairwise
from typing import Any, ClassVar

from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreRequest, FinishReason, output_processor
from vllm.v1.engine.async_llm import InputStreamError
from vllm.v1.engine.output_processor import RequestState

from vllm_worker.engine.patches.structured_outputs import nothing_fits
from vllm_worker.observability.job_log import JobRecord, current_record
from vllm_worker.streaming.flow_control import Pace

requested_pace: ContextVar[Pace | None] = ContextVar("requested_pace", default=None)
"""The pace of the request that is answered in this context."""


def install(has_connector: bool) -> None:
    """Has vLLM use the state of this module. `has_connector` is whether an engine gets caches from
    elsewhere, which may fail.
    """
    PacedState.has_connector = has_connector
    output_processor.RequestState = PacedState


class PacedState(RequestState):  # type: ignore[misc]
    """A request's state. Without a pace it is vLLM's own."""

    has_connector: ClassVar[bool]

    @classmethod
    def from_new_request(cls, *arguments: Any, **named: Any) -> "PacedState":
        state: PacedState = super().from_new_request(*arguments, **named)
        state._constrained = _is_constrained(named["request"]) and not cls.has_connector
        if record := current_record.get():
            state._record = record
            if state.request_index == 0:  # the other choices have the same prompt
                record.count_prompt(state.prompt_len, state.lora_name)
        pace = requested_pace.get()
        if pace and not pace.attached and state._can_hold():
            state._pace = pace
            pace.attach(state._emit)
        return state

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._constrained = False
        self._record: JobRecord | None = None
        self._pace: Pace | None = None
        self._token_ids: list[int] = []  # that are held
        self._text_ends: list[int] = []  # where in the whole text each held token's text ends
        self._text_sent = 0

    def _can_hold(self) -> bool:
        """Whether this is one stream of text that nobody else cuts into intervals."""
        return (
            self.output_kind == RequestOutputKind.DELTA
            and self.stream_interval == 1
            and self.parent_req is None
            and self.queue is not None
            and hasattr(self.detokenizer, "output_text")
        )

    def make_request_output(
        self,
        new_token_ids: list[int],
        pooling_output: Any,
        finish_reason: Any,
        *arguments: Any,
        **named: Any,
    ) -> Any:
        if self._record:
            self._record.count_output(len(new_token_ids))
        if self._constrained and finish_reason == FinishReason.ERROR and self.queue is not None:
            # In the one wrapping with which vLLM ends the request's other choices as well.
            self.queue.put(InputStreamError(nothing_fits()))
            return None
        if self._pace is None:
            return super().make_request_output(
                new_token_ids, pooling_output, finish_reason, *arguments, **named
            )
        self._token_ids += new_token_ids
        if self._pace.by_token:
            # Of several tokens that came in one step, the text goes with the first.
            self._text_ends += [len(self.detokenizer.output_text)] * len(new_token_ids)
        if self._pace.hold(len(new_token_ids)) or finish_reason is not None:
            return self._output(finish_reason, *arguments, **named)
        return None

    def _emit(self) -> None:
        self.queue.put(self._output(None, None))

    def _output(self, finish_reason: Any, *arguments: Any, **named: Any) -> RequestOutput:
        """All that is held."""
        token_ids, self._token_ids = self._token_ids, []
        output = super().make_request_output(token_ids, None, finish_reason, *arguments, **named)
        (completion,) = output.outputs
        assert self._pace
        self._pace.let_go(self._texts(completion.text) if self._pace.by_token else [])
        if finish_reason is not None:
            self._pace.end()
        return output

    def _texts(self, text: str) -> list[str]:
        """The text of this output, by token."""
        start = self._text_sent
        self._text_sent = end = start + len(text)
        # A text may end later than its output: the beginning of a stop string is held back.
        ends = [min(text_end, end) for text_end in self._text_ends[:-1]]
        self._text_ends = []
        return [text[a - start : b - start] for a, b in pairwise([start, *ends, end])]


def _is_constrained(request: EngineCoreRequest) -> bool:
    """Whether the engine gives up on it only for what its output has to follow: media fail, too."""
    params = request.sampling_params
    return bool(params and params.structured_outputs and not request.mm_features)
