"""WorkerLLM: vLLM's engine, with what the worker adds to every request.

Limits, token counts and flow control are put around vLLM's public methods, so that no release can
rename them away.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from math import isfinite
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from vllm_worker.decoding.structured_output_limits import MOST_STOPS, Limits
from vllm_worker.decoding.tool_arguments import with_any_arguments
from vllm_worker.engine import structured_outputs
from vllm_worker.engine.outputs import by_token
from vllm_worker.engine.patches.seams import find
from vllm_worker.engine.protocol import RequestContext, current_request
from vllm_worker.streaming.flow_control import FlowControl, FlowGrade

_LARGEST = 9999.0
"""vLLM's own stand-in for an infinite log-probability."""

InputStreamError = find("InputStreamError")


class WorkerLLM(AsyncLLM):  # type: ignore[misc]
    """Set `limits`, `flow_grade` and `has_connector` before the first request.

    With `has_connector` the engine gets caches from elsewhere, which may fail.
    """

    limits = Limits()
    flow_grade = FlowGrade.OFF
    has_connector = False
    offers_guidance = False

    async def add_request(
        self, request_id: str, prompt: Any, params: Any, *arguments: Any, **named: Any
    ) -> Any:
        """Raises VLLMValidationError for what is over a limit; vLLM answers it with status 400."""
        if not isinstance(params, SamplingParams):
            return await super().add_request(request_id, prompt, params, *arguments, **named)
        context = current_request.get() or RequestContext(request_id)
        try:
            return await self._add(context, request_id, prompt, params, *arguments, **named)
        except (VLLMValidationError, ValueError):
            tag = params.structured_outputs and params.structured_outputs.structural_tag
            if not tag or not context.strict_if_possible:
                raise
            # Over a limit or beyond the backend; and the request did not say that it must be.
            params.structured_outputs = replace(
                params.structured_outputs, structural_tag=with_any_arguments(tag)
            )
            return await self._add(context, request_id, prompt, params, *arguments, **named)

    async def _add(
        self, context: RequestContext, request_id: str, prompt: Any, params: SamplingParams,
        *arguments: Any, **named: Any,
    ) -> Any:  # fmt: skip
        self._check(params)
        flow = context.flow if context.flow and _is_one_stream(params) else None
        if flow and self.flow_grade is FlowGrade.INTERVAL:
            params = params.clone()
            params.stream_interval = flow.largest_chunk
        collector = await super().add_request(request_id, prompt, params, *arguments, **named)
        for step in self._steps(prompt, params, context, flow, named.get("lora_request")):
            _put_through(collector, step)
        return collector

    def generate(self, prompt: Any, sampling_params: Any, *arguments: Any, **named: Any) -> Any:
        """vLLM writes -9999.0 for a log-probability of minus infinity, but not in all places."""
        outputs = super().generate(prompt, sampling_params, *arguments, **named)
        if (sampling_params.logprobs, sampling_params.prompt_logprobs) != (None, None):
            return _finite(outputs)
        context = current_request.get()
        if context and context.shortcut and _is_one_stream(sampling_params):
            return context.shortcut.rest(outputs)
        return outputs

    async def offer_guidance(self, proof: Callable[[], Awaitable[bool]]) -> None:
        """Take guidance for what xgrammar does not follow, if vLLM may choose and `proof` holds."""
        if structured_outputs.may_offer_guidance(self._config):
            named, self._config.backend = self._config.backend, "auto"
            self.offers_guidance = True
            self.offers_guidance = await proof()
            if not self.offers_guidance:
                self._config.backend = named

    @property
    def _config(self) -> Any:
        return self.vllm_config.structured_outputs_config

    def _check(self, params: SamplingParams) -> None:
        if len(params.stop or ()) > MOST_STOPS:
            why = f"has {len(params.stop):,} strings, more than {MOST_STOPS:,}"
            raise VLLMValidationError(f"stop {why}.", parameter="stop")
        structured_outputs.prepare(params, self._config, self.limits, self.offers_guidance)

    def _steps(
        self,
        prompt: Any,
        params: SamplingParams,
        context: RequestContext,
        flow: FlowControl | None,
        adapter: Any,
    ) -> "list[Step]":
        """Steps that outputs go through, last one first, unless RequestState does their work."""
        steps: list[Step] = []
        if self.flow_grade is not FlowGrade.STATE:
            if flow and not flow.connected and self.flow_grade is FlowGrade.COLLECTOR:
                steps.append(_Buffer(flow))
            if flow and not flow.connected and self.flow_grade is FlowGrade.INTERVAL:
                steps.append(_Unbuffered(flow))
            if context.usage:
                steps.append(_Counter(context, adapter))
        media = isinstance(prompt, dict) and prompt.get("type") == "multimodal"
        if params.structured_outputs and not media and not self.has_connector:
            steps.append(_explain_error)
        return steps


Put = Callable[[Any], None]
Step = Callable[[Any, Put], None]
"""Takes an output, and what it goes to next."""


def _put_through(collector: Any, step: Step) -> None:
    """Have the outputs of a request go through a step before they reach its reader."""
    put = collector.put
    collector.put = lambda output: step(output, put)
    try:  # vLLM may have been faster
        early = collector.get_nowait()
    except Exception as error:
        early = error
    if early is not None:
        collector.put(early)


def _is_one_stream(params: SamplingParams) -> bool:
    """Whether this is one stream of text that nobody else cuts into intervals."""
    return (
        params.output_kind == RequestOutputKind.DELTA
        and params.n == 1
        and params.stream_interval in (None, 1)
        and params.detokenize
    )


def _explain_error(output: Any, put: Put) -> None:
    """The engine takes a schema that refers to itself, or a grammar without an end, and then finds
    no token. It says no more than that it gave up.
    """
    if _finish_reasons(output) & {"error"}:
        error = structured_outputs.unusable(
            "cannot be satisfied: no text matches it, or none that continues the output so far"
        )
        # In the one wrapping with which vLLM ends the request's other choices as well.
        output = InputStreamError(error) if InputStreamError else error
    put(output)


def _finish_reasons(output: Any) -> set[str | None]:
    if not isinstance(output, RequestOutput):
        return set()
    return {completion.finish_reason for completion in output.outputs}


class _Counter:
    """Counts tokens as they come: those of an answer that is not streamed come all at its end."""

    def __init__(self, context: RequestContext, adapter: Any) -> None:
        assert context.usage
        self._usage = context.usage
        self._adapter = getattr(adapter, "lora_name", None)
        self._begun = False

    def __call__(self, output: Any, put: Put) -> None:
        if isinstance(output, RequestOutput):
            if not self._begun:
                self._begun = True
                self._usage.count_prompt(len(output.prompt_token_ids or ()), self._adapter)
            for completion in output.outputs:
                self._usage.count_output(len(completion.token_ids))
        put(output)


class _Buffer:
    """Merges the outputs of a stream until its reader wants a chunk of them."""

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow
        self._merged: RequestOutput | None = None
        self._texts: list[str] = []
        self._put: Put = lambda output: None
        flow.connect(self._flush)

    def __call__(self, output: Any, put: Put) -> None:
        self._put = put
        if not _has_one_completion(output):
            self._flush()
            put(output)
            return
        (completion,) = output.outputs
        tokens = len(completion.token_ids)
        if self._flow.by_token:
            self._texts += by_token(completion.text, tokens)
        if self._merged is None:
            self._merged = output
        else:
            self._merged.add(output, aggregate=True)
        if self._flow.buffer(tokens) or output.finished:
            self._flush()
        if output.finished:
            self._flow.disconnect()

    def _flush(self) -> bool:
        if (merged := self._merged) is None:
            return False
        texts, self._merged, self._texts = self._texts, None, []
        self._flow.flushed(len(merged.outputs[0].token_ids), texts)
        self._put(merged)
        return True


class _Unbuffered:
    """Tells flow control of outputs that vLLM itself has gathered."""

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow
        flow.connect(lambda: False)

    def __call__(self, output: Any, put: Put) -> None:
        if _has_one_completion(output):
            (completion,) = output.outputs
            tokens = len(completion.token_ids)
            texts = by_token(completion.text, tokens) if self._flow.by_token else []
            self._flow.flushed(tokens, texts)
        put(output)


def _has_one_completion(output: Any) -> bool:
    return isinstance(output, RequestOutput) and len(output.outputs) == 1


async def _finite(outputs: AsyncGenerator[RequestOutput]) -> AsyncGenerator[RequestOutput]:
    """With log-probabilities that JSON can hold."""
    try:
        async for output in outputs:
            for step in output.prompt_logprobs or ():
                _make_finite(step)
            for completion in output.outputs:
                for step in completion.logprobs or ():
                    _make_finite(step)
            yield output
    finally:
        await outputs.aclose()


def _make_finite(step: Any) -> None:
    """The log-probabilities at one place of a text, by token; None for the first of a prompt."""
    for logprob in step.values() if isinstance(step, dict) else ():
        if not isfinite(logprob.logprob):
            logprob.logprob = _LARGEST if logprob.logprob > 0 else -_LARGEST  # NaN is the least
