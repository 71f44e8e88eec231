"""Decoding parameters that vLLM dropped or supports only in part."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vllm_worker.decoding.beam_search import EarlyStopping
from vllm_worker.errors import BadRequest
from vllm_worker.jobs.validation import bad_request

Parameters = Mapping[str, Any]

_MOST_SAMPLES = 16_384
"""vLLM's bound of n, under which name it would refuse them."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "temperature": (0, 1),
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "min_tokens": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "repetition_detection": (),
    "stop": ("", []),
    "stop_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "bad_words": ([],),
    "logit_bias": ({},),
    "allowed_token_ids": ([],),
    "prompt_logprobs": (),
    "logprob_token_ids": ([],),
    "structured_outputs": ({},),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "thinking_token_budget": (),
    "spaces_between_special_tokens": (True,),
    "watermarking": (False,),
    "priority": (0,),
    "stream_interval": (1,),
    "skip_reading_prefix_cache": (False,),
    "routed_experts_prompt_start": (0,),
    "vllm_xargs": ({},),
    "kv_transfer_params": ({},),
    "ec_transfer_params": ({},),
}
"""Parameters that a beam search cannot honour → values that ask for nothing."""


class DecodingParams(BaseModel):
    """The n choices: n samples, the best n of more samples, or the best n beams.

    `best_of` is the number of samples or the width of the search; without it that is n.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    n: Annotated[int, Field(ge=1)] = 1
    best_of: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)] | None = None
    use_beam_search: bool = False
    length_penalty: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    early_stopping: EarlyStopping = False

    @property
    def from_samples(self) -> bool:
        """Whether more is sampled than is returned."""
        return (self.best_of or 0) > self.n and not self.use_beam_search


DEFAULT = DecodingParams()
"""n samples."""

NAMES = DecodingParams.model_fields.keys() - {"n"}
"""Without n, which vLLM knows: where it stands alone there is nothing to do."""


def read_decoding_params(parameters: Parameters, stream: bool, prefix: str = "") -> DecodingParams:
    """The decoding that a request's parameters ask for.

    Raises BadRequest for a value that is wrong or that could have no effect; `prefix` comes before
    the names of fields in it.
    """
    given = {name: parameters[name] for name in NAMES if parameters.get(name) is not None}
    if not given:
        return DEFAULT
    if parameters.get("n") is not None:
        given["n"] = parameters["n"]
    try:
        decoding = DecodingParams.model_validate(given)
    except ValidationError as error:
        raise bad_request(error, DecodingParams, prefix) from None
    wrong = _wrong(decoding, parameters, stream)
    if wrong:
        name, why = wrong
        field = name if name == "stream" else f"{prefix}{name}"
        raise BadRequest(f"{field} {why}.", field)
    return decoding


def without_decoding_params(parameters: Parameters) -> dict[str, Any]:
    """The parameters that are left for vLLM's sampling."""
    return {name: value for name, value in parameters.items() if name not in NAMES}


def best(choices: list[Any], logprobs: list[float], n: int) -> list[Any]:
    """The n choices with the highest cumulative log-probability, best first."""
    order = sorted(range(len(choices)), key=lambda i: -logprobs[i])
    return [choices[i] for i in order[:n]]


def _wrong(
    decoding: DecodingParams, parameters: Parameters, stream: bool
) -> tuple[str, str] | None:
    """The first parameter that cannot be honoured, and why."""
    if decoding.best_of is not None and decoding.best_of < decoding.n:
        return "best_of", f"must be at least n, which is {decoding.n}"
    if stream and (decoding.use_beam_search or decoding.from_samples):
        why = "whose choices are known only at the end"
        return "stream", f"cannot be combined with a best_of above n or with beam search, {why}"
    if decoding.use_beam_search:
        return _not_for_beams(parameters)
    if decoding.from_samples and parameters.get("temperature") == 0:
        return "best_of", "must be n with a temperature of 0, which gives one text each time"
    for name in ("length_penalty", "early_stopping"):
        if getattr(decoding, name) != DecodingParams.model_fields[name].default:
            return name, "is a parameter of beam search: set use_beam_search as well"
    return None


def _not_for_beams(parameters: Parameters) -> tuple[str, str] | None:
    for name, neutral in NEUTRAL.items():
        value = parameters.get(name)
        if value is not None and value not in neutral:
            return name, "cannot be combined with beam search"
    return None
