"""A native job as vLLM takes it: the sampling parameters and the prompt."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from vllm.renderers import ChatParams, TokenizeParams
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams

from vllm_worker.decoding.parameters import NAMES, DecodingParams, without_decoding_params
from vllm_worker.errors import BadRequest, JobError, nearest
from vllm_worker.jobs.inputs import SAMPLING_PREFIX, NativeJob
from vllm_worker.jobs.validation import json_text

_SPELT_HERE = {"max_completion_tokens": "max_tokens"}
_NOT_ANSWERED = ("prompt_logprobs", "logprob_token_ids", "prompt_logprob_token_ids")
_INTERNAL = {
    "output_kind", "stream_interval", "skip_clone", "output_text_buffer_length", "detokenize",
    "flat_logprobs", "extra_args", "trace_decode_token_ids", "prompt_logprob_start",
}  # fmt: skip
"""Set by this worker itself, or vLLM's bookkeeping."""


def sampling_params(job: NativeJob, decoding: DecodingParams) -> SamplingParams:
    """Raises BadRequest for a parameter that vLLM does not have or whose value it refuses."""
    parameters = without_decoding_params(job.sampling_params)
    _check_names(parameters.keys())
    kind = RequestOutputKind.DELTA if job.stream else RequestOutputKind.FINAL_ONLY
    parameters["output_kind"] = kind.value
    if decoding.from_samples:
        # vLLM adds up log-probabilities only when it is asked for some.
        parameters |= {"n": decoding.best_of, "logprobs": parameters.get("logprobs") or 0}
    if decoding.use_beam_search:
        if parameters.get("logprobs") is not None:
            field = f"{SAMPLING_PREFIX}logprobs"
            raise BadRequest(f"{field} cannot be combined with beam search.", field)
        parameters["temperature"] = 1  # at 0 vLLM refuses several choices, which would be the same
    text = json_text(parameters, SAMPLING_PREFIX)
    try:
        # As JSON, in which strictness allows what JSON has no other way to say: {"12": 1.0}.
        params = _schema()[0].validate_json(text, strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False)[-1]
        if detail["type"] == "json_invalid":  # its own text, so that can only be one thing
            field = f"{SAMPLING_PREFIX}{_too_deep(parameters)}"
            raise BadRequest(f"{field} is nested too deeply.", field) from None
        field = f"{SAMPLING_PREFIX}{detail['loc'][1]}"
        raise BadRequest(f"{field}: {detail['msg']}.", field) from None
    return params


def named(error: JobError) -> JobError:
    """With the parameter that vLLM complains about as the field of the job that it came from."""
    if error.param in _schema()[1] | NAMES:
        error.param = f"{SAMPLING_PREFIX}{error.param}"
    return error


def _too_deep(parameters: Mapping[str, Any]) -> str:
    """The first parameter that pydantic cannot read."""
    for name, value in parameters.items():
        try:
            from_json(json_text({name: value}))
        except ValueError:
            return name
    return ""


def _check_names(names: Iterable[str]) -> None:
    known = _schema()[1]
    for name in names:
        if name in known:
            continue
        field = f"{SAMPLING_PREFIX}{name}"
        if name in _NOT_ANSWERED:
            why = "is not part of a native job's answer; use /v1/completions."
            raise BadRequest(f"{field} {why}", field)
        offered = sorted(known | NAMES)
        hint = (
            nearest(_SPELT_HERE.get(name, name), offered)
            or f" Sampling parameters: {', '.join(offered)}."
        )
        raise BadRequest(f"{field} is not a sampling parameter.{hint}", field)


@cache
def _schema() -> tuple[TypeAdapter[SamplingParams], frozenset[str]]:
    """vLLM's sampling parameters, and which of them a job may give."""
    names = {name for name in SamplingParams.__struct_fields__ if not name.startswith("_")}
    return TypeAdapter(SamplingParams), frozenset(names - _INTERNAL - {*_NOT_ANSWERED})


async def render(llm: Any, app_state: Any, job: NativeJob) -> Any:
    """The prompt as token ids, by the model's chat template where the job asks for it.

    `llm` is vLLM's engine and `app_state` that of its application. Raises vLLM's errors for a
    prompt that is longer than the context.
    """
    lengths = TokenizeParams(
        max_total_tokens=llm.model_config.max_model_len,
        max_total_tokens_param="max_model_len",
        truncate_prompt_tokens=job.truncate_prompt_tokens,
        max_output_tokens=0 if job.truncate_prompt_tokens is None else 1,
        add_special_tokens=job.chat is None,
    )
    if job.chat is None:
        return await render_text(llm, job.prompt, lengths)
    online = app_state.online_renderer
    template = ChatParams(
        chat_template=online.chat_template,
        chat_template_content_format=online.chat_template_content_format,
        chat_template_kwargs=_template_kwargs(job),
    ).with_defaults(online.default_chat_template_kwargs)
    _, (prompt,) = await llm.renderer.render_chat_async([job.chat], template, lengths)
    return prompt


def _template_kwargs(job: NativeJob) -> dict[str, Any]:
    tools = {"tools": job.tools} if job.tools else {}
    return {"add_generation_prompt": job.add_generation_prompt} | tools | job.chat_template_kwargs


async def render_text(llm: Any, text: str | None, lengths: TokenizeParams) -> Any:
    """A bare prompt as token ids."""
    parsed = parse_model_prompt(llm.model_config, text)
    (prompt,) = await llm.renderer.render_cmpl_async([parsed], lengths)
    return prompt
