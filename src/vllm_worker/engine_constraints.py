"""The limits of constraints.py at the one place where every request of vLLM's is checked."""

from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams

from vllm_worker.constraints import Limits

_validate = SamplingParams._validate_structured_outputs


def install(limits: Limits) -> None:
    """Has vLLM refuse what is over the limits, before it compiles it, with status 400."""

    def validate(self: SamplingParams, *arguments: Any) -> None:
        if self.structured_outputs and (mistake := limits.mistake(self.structured_outputs)):
            what = "What the output has to follow (structured_outputs, response_format or tools)"
            raise VLLMValidationError(f"{what} {mistake}.", parameter="structured_outputs")
        _validate(self, *arguments)

    SamplingParams._validate_structured_outputs = validate
