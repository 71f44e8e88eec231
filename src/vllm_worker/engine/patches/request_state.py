"""vLLM's state of a request, with its tokens buffered until the reader of the stream wants them.

vLLM asks that state for an output at each step; without one, nothing of the step goes any further.
vLLM's own `stream_interval` has one fixed interval, and no limit in time.
"""

from itertools import pairwise
from typing import Any

from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import output_processor
from vllm.v1.engine.output_processor import RequestState

from vllm_worker.engine.protocol import RequestContext, current_request
from vllm_worker.streaming.flow_control import FlowControl


def install() -> None:
    """Have vLLM use `BufferingState`."""
    output_processor.RequestState = BufferingState


def uninstall() -> None:
    """Have vLLM use its own class again."""
    output_processor.RequestState = RequestState


class BufferingState(RequestState):  # type: ignore[misc]
    """A request's state. Without flow control it is vLLM's own."""

    @classmethod
    def from_new_request(cls, *arguments: Any, **named: Any) -> "BufferingState":
        state: BufferingState = super().from_new_request(*arguments, **named)
        if context := current_request.get():
            state._join(context)
        return state

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._context = RequestContext("")
        self._flow: FlowControl | None = None
        self._token_ids: list[int] = []  # that are buffered
        self._text_ends: list[int] = []  # where in the whole text each buffered token's text ends
        self._text_sent = 0

    def _join(self, context: RequestContext) -> None:
        self._context = context
        if context.usage and self.request_index == 0:  # the other choices have the same prompt
            context.usage.count_prompt(self.prompt_len, self.lora_name)
        if context.flow and not context.flow.connected and self._can_buffer():
            self._flow = context.flow
            self._flow.connect(self._flush)

    def _can_buffer(self) -> bool:
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
        if self._context.usage:
            self._context.usage.count_output(len(new_token_ids))
        if self._flow is None:
            return super().make_request_output(
                new_token_ids, pooling_output, finish_reason, *arguments, **named
            )
        self._token_ids += new_token_ids
        if self._flow.by_token:
            # Of several tokens that came in one step, the text goes with the first.
            self._text_ends += [len(self.detokenizer.output_text)] * len(new_token_ids)
        if self._flow.buffer(len(new_token_ids)) or finish_reason is not None:
            return self._output(finish_reason, *arguments, **named)
        return None

    def _flush(self) -> bool:
        if not self._token_ids:
            return False
        self.queue.put(self._output(None, None))
        return True

    def _output(self, finish_reason: Any, *arguments: Any, **named: Any) -> RequestOutput:
        """All that is buffered."""
        token_ids, self._token_ids = self._token_ids, []
        output = super().make_request_output(token_ids, None, finish_reason, *arguments, **named)
        (completion,) = output.outputs
        assert self._flow
        texts = self._texts(completion.text) if self._flow.by_token else []
        self._flow.flushed(len(token_ids), texts)
        if finish_reason is not None:
            self._flow.disconnect()
        return output

    def _texts(self, text: str) -> list[str]:
        """The text of this output, by token."""
        start = self._text_sent
        self._text_sent = end = start + len(text)
        # A text may end later than its output: the beginning of a stop string is held back.
        ends = [min(text_end, end) for text_end in self._text_ends[:-1]]
        self._text_ends = []
        return [text[a - start : b - start] for a, b in pairwise([start, *ends, end])]
