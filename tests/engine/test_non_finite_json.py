"""No number enters that JSON does not have."""

from math import inf, nan

import pytest

from tests.support.asking import CHAT, COMPLETIONS, NATIVE, Refused, ask
from vllm_worker.engine.vllm_engine import VLLMEngine


@pytest.mark.parametrize("form", [CHAT, COMPLETIONS, NATIVE])
@pytest.mark.parametrize("value", [nan, inf, -inf])
async def test_a_number_that_json_does_not_have_is_refused(
    engine: VLLMEngine, form: str, value: float
) -> None:
    with pytest.raises(Refused) as refused:
        await ask(engine, form, temperature=value)
    param = "sampling_params.temperature" if form == NATIVE else "temperature"
    assert refused.value.error["param"] == param
    assert refused.value.error["code"] == 400
    assert "not NaN or infinite" in refused.value.error["message"]
