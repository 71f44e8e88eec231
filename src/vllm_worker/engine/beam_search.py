"""Beam search on vLLM's engine, for the native path and in place of vLLM's own.

vLLM's request types have no field for the width apart from `n`, nor for `early_stopping`. A request
to its application has them in its context (`protocol.current_request`).
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import cached_property
from typing import Any

from vllm.entrypoints.generate.beam_search.utils import BeamSearchSequence
from vllm.exceptions import VLLMValidationError
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import BeamSearchParams, SamplingParams
from vllm.utils import random_uuid

from vllm_worker.decoding.beam_search import Beam, BeamSearch, Step
from vllm_worker.decoding.parameters import DEFAULT, DecodingParams
from vllm_worker.engine.protocol import current_request
from vllm_worker.errors import BadRequest, EngineFailure


class BeamSearcher:
    """Run searches in which each step of each beam is a request for one token."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self.asked_by_application: bool | None = None
        """Whether vLLM's application searches with this; None while it has not been tried."""

    def check_application(self, decoding: DecodingParams) -> None:
        """Raises BadRequest for what vLLM's own search would ignore, where it is in force."""
        if not decoding.use_beam_search or self.asked_by_application is not False:
            return
        wider = (decoding.best_of or decoding.n) != decoding.n
        stops = decoding.early_stopping is not False
        if wider or stops:
            name = "early_stopping" if stops else "best_of"
            why = "is not available on this route with the installed vLLM; native jobs have it"
            raise BadRequest(f"{name} {why}.", name)

    def params(self, sampling: SamplingParams, prompt: Any) -> BeamSearchParams:
        """vLLM's form of a search for a native job's parameters; it must fit in the context."""
        room = self._llm.model_config.max_model_len - len(_decoder(prompt)["prompt_token_ids"])
        return BeamSearchParams(
            beam_width=sampling.n,
            max_tokens=room if sampling.max_tokens is None else min(sampling.max_tokens, room),
            ignore_eos=sampling.ignore_eos,
        )

    async def search(
        self, prompt: Any, request_id: str, params: BeamSearchParams, decoding: DecodingParams,
        skip_special_tokens: bool = True, **request: Any,
    ) -> AsyncGenerator[RequestOutput]:  # fmt: skip
        """One output with the best `params.beam_width` beams.

        `request` goes to the engine with each step.

        Raises EngineFailure, and VLLMValidationError, which vLLM's application answers with 400,
        for a search that is wider than the engine's log-probabilities allow.
        """
        if prompt["type"] == "embeds":
            raise VLLMValidationError("A beam search needs a prompt of tokens or text.")
        prompt_tokens = _decoder(prompt)["prompt_token_ids"]
        search_id = f"{request_id}-{random_uuid()}"  # a request may search for several prompts
        width = decoding.best_of or params.beam_width
        step = SamplingParams(
            logprobs=self._checked(2 * width), max_tokens=1, temperature=0, detokenize=False
        )

        async def next_tokens(beams: Sequence[Beam]) -> list[Step]:
            prompts = [_extended(prompt, [*prompt_tokens, *beam.tokens]) for beam in beams]
            return await asyncio.gather(
                *(
                    self._step(prompt, step, f"{search_id}-{len(beams[0].tokens)}-{i}", request)
                    for i, prompt in enumerate(prompts)
                )
            )

        beams = await BeamSearch(
            width=width,
            max_tokens=params.max_tokens,
            end_tokens=frozenset() if params.ignore_eos else self._end_tokens,
            prompt_length=len(prompt_tokens),
            length_penalty=decoding.length_penalty,
            early_stopping=decoding.early_stopping,
        ).run(next_tokens)
        yield RequestOutput(
            request_id=request_id,
            prompt=_decoder(prompt).get("prompt"),
            prompt_token_ids=prompt_tokens,
            prompt_logprobs=None,
            outputs=[
                self._output(i, beam, skip_special_tokens)
                for i, beam in enumerate(beams[: params.beam_width])
            ],
            finished=True,
        )

    def in_application(
        self, prompt: Any, request_id: str, params: BeamSearchParams, *rest: Any, **request: Any
    ) -> AsyncGenerator[RequestOutput]:
        """With the signature of `beam_search` in vLLM's serving objects."""
        self.asked_by_application = True
        request |= zip(("lora_request", "trace_headers"), rest, strict=False)
        context = current_request.get()
        decoding = context.decoding if context else DEFAULT
        # Older releases have no such field.
        skip_special_tokens = getattr(params, "skip_special_tokens", True)
        return self.search(prompt, request_id, params, decoding, skip_special_tokens, **request)

    async def _step(
        self, prompt: Any, params: SamplingParams, request_id: str, request: dict[str, Any]
    ) -> Step:
        # To its end: vLLM aborts a request whose generator is left before.
        stream = self._llm.generate(prompt, params, request_id, **request)
        outputs = [output async for output in stream]
        (completion,) = outputs[-1].outputs
        if not completion.logprobs:
            raise EngineFailure("The engine failed in the middle of a beam search.")
        return completion.logprobs[0]  # type: ignore[no-any-return]

    def _checked(self, logprobs: int) -> int:
        """vLLM's own refusal would name a parameter that the client did not give."""
        config = self._llm.model_config
        most = config.max_logprobs if config.max_logprobs >= 0 else config.get_vocab_size()
        if logprobs > most:
            raise VLLMValidationError(
                f"A beam search can be {most // 2} wide on this worker, not {logprobs // 2}: it "
                f"needs two log-probabilities for each beam, and MAX_LOGPROBS allows {most}. "
                "The width is best_of, or n without it.",
                parameter="best_of",
            )
        return logprobs

    @cached_property
    def _end_tokens(self) -> frozenset[int]:
        """Tokens that end a text of this model, found as vLLM finds them for sampled texts."""
        params = SamplingParams()
        params.update_from_generation_config(
            self._llm.model_config.try_get_generation_config(),
            self._llm.renderer.get_eos_token_id(),
        )
        return frozenset(params.all_stop_token_ids)

    def _output(self, index: int, beam: Beam, skip_special_tokens: bool) -> CompletionOutput:
        tokens = list(beam.tokens)
        tokenizer = self._llm.renderer.get_tokenizer()
        return CompletionOutput(
            index=index,
            text=tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens),
            token_ids=tokens,
            cumulative_logprob=beam.logprob,
            logprobs=list(beam.steps[: len(tokens)]),
            finish_reason="stop" if beam.ended else "length",
        )


def _decoder(prompt: Any) -> Any:
    return prompt["decoder_prompt"] if prompt["type"] == "enc_dec" else prompt


def _extended(prompt: Any, tokens: list[int]) -> Any:
    """The prompt, of whatever kind, with these tokens."""
    return BeamSearchSequence(orig_prompt=prompt, tokens=tokens, logprobs=[]).get_prompt()
