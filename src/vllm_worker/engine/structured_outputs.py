"""What a request's output has to follow: whether it may, and which backend holds the output to it.

xgrammar ignores some keywords of JSON schemas, and guidance follows most of those. vLLM decides by
what xgrammar takes, so that the worker names guidance where that counts.
"""

from dataclasses import replace
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams

from vllm_worker.decoding.structured_output_limits import Limits
from vllm_worker.decoding.tool_arguments import with_single_spaces
from vllm_worker.decoding.unenforced import unenforced
from vllm_worker.engine.patches.seams import find, usable
from vllm_worker.engine.protocol import BACKEND

_NOT_HELD = (
    "{} not hold outputs to: leave it out, or have the endpoint set "
    "STRUCTURED_OUTPUT_UNENFORCED=allow"
)
_INSTEAD = ' or STRUCTURED_OUTPUTS_CONFIG={"backend": "guidance"}'

validate_guidance_grammar = find("validate_guidance_grammar")


def may_offer_guidance(config: Any) -> bool:
    """Whether vLLM may choose the backend by this `structured_outputs_config`, and a warm-up can
    prove that its core heeds the worker's choice. Of a model that reasons it cannot: the first
    tokens are free.

    vLLM takes disable_any_whitespace with a named backend only, so xgrammar is no choice there.
    """
    seams = ("StructuredOutputManager.grammar_init", "validate_guidance_grammar")
    free = ("auto", "xgrammar") if config.disable_any_whitespace else ("auto",)
    return config.backend in free and not config.reasoning_parser and usable(*seams)


def prepare(params: SamplingParams, config: Any, limits: Limits, offers_guidance: bool) -> None:
    """Check the structured output of a request, and name its backend where vLLM's would ignore it.

    Raises VLLMValidationError for what is over a limit, or what no backend follows.
    """
    structured = params.structured_outputs
    given = params.extra_args or {}  # a client's own choice of a backend does not count
    params.extra_args = {name: given[name] for name in given if name != BACKEND} or None
    if not structured:
        return
    if too_large := limits.problem(structured):
        raise unusable(too_large)
    if not _takes_xgrammar(config):
        return
    if not limits.allow_unenforced and (ignored := unenforced(structured)):
        if not (offers_guidance and _is_followed_by_guidance(params)):
            raise unusable(f"has {ignored}, which {_reason(offers_guidance)}")
        params.extra_args = (params.extra_args or {}) | {BACKEND: "guidance"}
    elif structured.structural_tag and config.disable_any_whitespace:
        tag = with_single_spaces(structured.structural_tag)
        params.structured_outputs = replace(structured, structural_tag=tag)


def unusable(why: str) -> VLLMValidationError:
    """The error for a structured output."""
    what = "The structured output (structured_outputs, response_format or tools)"
    return VLLMValidationError(f"{what} {why}.", parameter="structured_outputs")


def _takes_xgrammar(config: Any) -> bool:
    """Whether that is vLLM's backend for all that it does not refuse."""
    return bool(config.backend in ("auto", "xgrammar"))


def _is_followed_by_guidance(params: SamplingParams) -> bool:
    """It refuses what it does not follow."""
    try:
        validate_guidance_grammar(params)
    except (VLLMValidationError, ValueError):
        return False
    return True


def _reason(offers_guidance: bool) -> str:
    if offers_guidance:
        return _NOT_HELD.format("neither of vLLM's backends xgrammar and guidance can")
    return _NOT_HELD.format("vLLM's backend (xgrammar) does") + _INSTEAD
