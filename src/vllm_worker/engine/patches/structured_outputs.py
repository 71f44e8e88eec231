"""The limits of constraints.py at the one place where every request of vLLM's is checked, and what
only shows when vLLM generates.
"""

from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams

from vllm_worker.decoding.structured_output_limits import MOST_STOPS, Limits

_validate = SamplingParams._validate_structured_outputs


def install(limits: Limits) -> None:
    """Has vLLM refuse what is over the limits, before it compiles it, with status 400."""

    def validate(self: SamplingParams, *arguments: Any) -> None:
        if len(self.stop) > MOST_STOPS:
            why = f"has {len(self.stop):,} strings, more than {MOST_STOPS:,}"
            raise VLLMValidationError(f"stop {why}.", parameter="stop")
        if self.structured_outputs and (problem := limits.problem(self.structured_outputs)):
            raise _problem(problem)
        _validate(self, *arguments)

    SamplingParams._validate_structured_outputs = validate


def nothing_fits() -> VLLMValidationError:
    """Why the engine gave up on a request whose output has to follow something.

    It takes a schema that refers to itself, or a grammar without an end, and then finds no token.
    """
    return _problem("cannot be followed: no text fits it, or none that goes on as it began")


def _problem(why: str) -> VLLMValidationError:
    what = "What the output has to follow (structured_outputs, response_format or tools)"
    return VLLMValidationError(f"{what} {why}.", parameter="structured_outputs")
