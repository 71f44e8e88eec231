"""A native job's input as older workers and RunPod's examples write it → NativeJob's fields."""

import difflib
import logging
from collections.abc import Collection
from itertools import islice
from typing import Any

from vllm_worker.errors import BadRequest
from vllm_worker.jobs.legacy import LEGACY_NAMES

logger = logging.getLogger(__name__)

SAMPLING_PARAMETERS = frozenset({
    "allowed_token_ids", "bad_words", "best_of", "early_stopping", "frequency_penalty",
    "ignore_eos", "include_stop_str_in_output", "length_penalty", "logit_bias", "logprobs",
    "max_tokens", "min_p", "min_tokens", "n", "presence_penalty", "repetition_detection",
    "repetition_penalty", "routed_experts_prompt_start", "seed", "skip_reading_prefix_cache",
    "skip_special_tokens", "spaces_between_special_tokens", "stop", "stop_token_ids",
    "structured_outputs", "temperature", "thinking_token_budget", "top_k", "top_p",
    "use_beam_search", "watermarking",
})  # fmt: skip
"""Those of the pinned vLLM, which a job may give beside `sampling_params`, too."""

_OF_OTHERS = {"max_completion_tokens": "max_tokens", "max_new_tokens": "max_tokens"}
"""OpenAI's and Hugging Face's names."""
_NOT_SAMPLING = ("chat_template_kwargs", "add_generation_prompt", "truncate_prompt_tokens")
"""Fields of a job that people put in `sampling_params`."""
_CLOSED = {"chat_template": "a request may not bring a chat template of its own"}
_EXACT = 2.0**53
"""Below it, a float is exactly the whole number that was written."""
_MOST_NAMES = 100
"""Unknown names that are compared with known ones, which takes its time."""
_SURE = 0.85
"""How alike two names are (difflib's ratio) when one is a slip for the other."""


def as_fields(value: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """The input with each thing in its field; `fields` are those of NativeJob.

    Null counts as not given, `messages` win over `prompt`, and a whole number may be written 50.0.
    A field that nobody knows is dropped, unless it is a slip for a known one. Raises BadRequest.
    """
    job = {name: _whole(given) for name, given in value.items() if given is not None}
    if "messages" in job:
        job.pop("prompt", None)
    parameters = job.get("sampling_params", {})
    if not isinstance(parameters, dict):
        return {name: job[name] for name in job if name in fields}
    parameters = {name: _whole(given) for name, given in parameters.items() if given is not None}
    for name in [name for name in _NOT_SAMPLING if name in parameters]:
        job.setdefault(name, parameters.pop(name))
    for name in [name for name in _OF_OTHERS if name in job]:
        job.setdefault(_OF_OTHERS[name], job.pop(name))
    beside = [name for name in job if name in SAMPLING_PARAMETERS | LEGACY_NAMES.keys()]
    if beside:
        logger.info("taken as sampling parameters: %s", ", ".join(beside))
    parameters = {name: job.pop(name) for name in beside} | parameters
    _constrain(job, parameters)
    _check_names(job, fields)
    known = {name: given for name, given in job.items() if name in fields}
    return known | {"sampling_params": parameters}


def _constrain(job: dict[str, Any], parameters: dict[str, Any]) -> None:
    """Put `response_format`, of either, into `structured_outputs`."""
    formats = [given.pop("response_format", None) for given in (parameters, job)]
    if constraint := _constraint(next((one for one in formats if one is not None), None)):
        for other in ("structured_outputs", *LEGACY_NAMES):
            if other in parameters:
                names = f"response_format and {other}"
                raise BadRequest(f"Give only one of {names}.", "response_format")
        parameters["structured_outputs"] = constraint


def _whole(value: Any) -> Any:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
    return int(value) if is_whole else value


def _check_names(job: dict[str, Any], fields: Collection[str]) -> None:
    for name in _CLOSED.keys() & job.keys():
        raise BadRequest(f"{name} cannot be set: {_CLOSED[name]}.", name)
    for name in islice(sorted(job.keys() - set(fields)), _MOST_NAMES):
        known = [*fields, *SAMPLING_PARAMETERS]
        if near := difflib.get_close_matches(name, known, n=1, cutoff=_SURE):
            hint = f'Did you mean "{near[0]}"?'
            raise BadRequest(f"{name} is not a field of this input. {hint}", name)


def _constraint(response_format: Any) -> dict[str, Any] | None:
    """OpenAI's `response_format` as vLLM's `structured_outputs`; None for plain text."""
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    match kind:
        case "text":
            return None
        case "json_object":
            return {"json_object": True}
        case "json_schema":
            schema = response_format.get("json_schema")
            if isinstance(schema, dict) and isinstance(schema.get("schema"), dict):
                return {"json": schema["schema"]}
            field = "response_format.json_schema.schema"
            raise BadRequest(f"{field} should be an object.", field)
    raise BadRequest(
        "response_format.type must be text, json_object or json_schema.", "response_format.type"
    )
