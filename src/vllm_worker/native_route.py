"""A NativeJob → AsyncLLMEngine.generate → the job's outputs."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from vllm_worker.batching import in_pieces
from vllm_worker.interface import Delta, Engine
from vllm_worker.jobs import NativeJob
from vllm_worker.settings import Settings


async def answer(
    job: NativeJob, job_id: str, engine: Engine, settings: Settings
) -> AsyncIterator[dict[str, Any]]:
    """The outputs of the job: pieces of it when it streams, else one output with all of it.

    Each is `{"choices": [{"tokens": [text, …]}, …], "usage": {"input": n, "output": m}}`. The texts
    of a choice put together are its text; usage counts tokens from the start of the job, over all
    choices; the last output also has `finish_reason` in each choice.
    """
    if "max_tokens" not in job.sampling_params:
        default = {"max_tokens": settings.default_max_tokens}
        job = job.model_copy(update={"sampling_params": default | job.sampling_params})
    deltas = engine.generate(job, job_id)
    progress = _Progress(job)
    if job.stream:
        async for piece in in_pieces(deltas, job.schedule(settings.schedule), settings.max_delay):
            yield progress.output(piece)
    else:
        async with aclosing(deltas):
            yield progress.output([delta async for delta in deltas])


class _Progress:
    """How far the choices of a job have come."""

    def __init__(self, job: NativeJob) -> None:
        self._job = job
        self._finish_reasons: list[str | None] = []
        self._tokens = 0

    def output(self, deltas: list[Delta]) -> dict[str, Any]:
        if not self._finish_reasons:  # not before there is output: the engine has checked n by then
            self._finish_reasons = [None] * (self._job.sampling_params.get("n") or 1)
        texts: list[list[str]] = [[] for _ in self._finish_reasons]
        for delta in deltas:
            texts[delta.index].append(delta.text)
            self._tokens += delta.tokens
            if delta.finish_reason:
                self._finish_reasons[delta.index] = delta.finish_reason
        choices: list[dict[str, Any]] = [{"tokens": tokens} for tokens in texts]
        if all(self._finish_reasons):
            for choice, reason in zip(choices, self._finish_reasons, strict=True):
                choice["finish_reason"] = reason
        usage = {"input": deltas[0].input_tokens, "output": self._tokens}
        return {"choices": choices, "usage": usage}
