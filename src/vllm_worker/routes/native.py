"""A NativeJob → the engine's deltas → the job's outputs."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from vllm_worker.configuration.settings import Settings
from vllm_worker.decoding.parameters import best, read_decoding_params
from vllm_worker.engine.protocol import Delta, Engine, RequestContext
from vllm_worker.jobs.inputs import SAMPLING_PREFIX, NativeJob
from vllm_worker.jobs.legacy import with_current_names
from vllm_worker.streaming.chunker import in_chunks
from vllm_worker.streaming.flow_control import FlowControl
from vllm_worker.streaming.schedule import Schedule


async def answer(
    job: NativeJob, context: RequestContext, engine: Engine, settings: Settings
) -> AsyncIterator[dict[str, Any]]:
    """The outputs of the job: chunks of it when it streams, else one output with all of it.

    Each is `{"choices": [{"tokens": [text, …]}, …], "usage": {"input": n, "output": m}}`. The texts
    of a choice put together are its text; usage counts tokens from the start of the job, over all
    choices and all samples of `best_of`; the last output also has `finish_reason` in each choice.
    With `logprobs` in its sampling parameters a choice has as many `logprobs` as new tokens.
    """
    parameters = {"max_tokens": settings.default_max_tokens} | job.sampling_params
    parameters = with_current_names(parameters, SAMPLING_PREFIX)
    job = job.model_copy(update={"sampling_params": parameters})
    decoding = read_decoding_params(parameters, job.stream, SAMPLING_PREFIX)
    schedule = schedule_of(job, settings.schedule)
    flow = FlowControl(settings.max_delay, schedule.maximum, by_token=True)
    # Log-probabilities belong to tokens, so the engine may not merge those of several.
    buffered = None if parameters.get("logprobs") is not None else flow
    deltas = engine.generate(job, replace(context, decoding=decoding, flow=buffered))
    progress = _Progress(job)
    if job.stream:
        async for chunk in in_chunks(deltas, schedule, flow):
            yield progress.output(chunk)
    else:
        async with aclosing(deltas):
            generated = [delta async for delta in deltas]
        if not decoding.from_samples:
            yield progress.output(generated)
            return
        output = progress.output(_best(generated, decoding.n))
        output["usage"]["output"] = sum(delta.tokens for delta in generated)
        yield output


def schedule_of(job: NativeJob, default: Schedule) -> Schedule:
    """The worker's schedule with what this job changes in it."""
    return Schedule(
        job.min_batch_size or default.minimum,
        job.max_batch_size or default.maximum,
        job.batch_size_growth_factor or default.growth,
    )


def _best(deltas: list[Delta], n: int) -> list[Delta]:
    chosen = best(deltas, [delta.logprob or 0.0 for delta in deltas], n)
    return [replace(delta, index=index) for index, delta in enumerate(chosen)]


class _Progress:
    """Progress of a job's choices."""

    def __init__(self, job: NativeJob) -> None:
        self._job = job
        self._finish_reasons: list[str | None] = []
        self._tokens = 0

    def output(self, deltas: list[Delta]) -> dict[str, Any]:
        if not self._finish_reasons:  # not before there is output: the engine has checked n by then
            self._finish_reasons = [None] * (self._job.sampling_params.get("n") or 1)
        choices: list[dict[str, Any]] = [{"tokens": []} for _ in self._finish_reasons]
        for delta in deltas:
            choice = choices[delta.index]
            choice["tokens"] += delta.texts
            if delta.logprobs is not None:
                choice.setdefault("logprobs", []).extend(delta.logprobs)
            self._tokens += delta.tokens
            if delta.finish_reason:
                self._finish_reasons[delta.index] = delta.finish_reason
        if all(self._finish_reasons):
            for choice, reason in zip(choices, self._finish_reasons, strict=True):
                choice["finish_reason"] = reason
        usage = {"input": deltas[0].input_tokens, "output": self._tokens}
        return {"choices": choices, "usage": usage}
