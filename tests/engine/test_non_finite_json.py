"""No number enters that JSON does not have, and none leaves."""

from collections.abc import AsyncGenerator
from math import inf, nan
from typing import Any

import pytest

from tests.support.asking import CHAT, COMPLETIONS, NATIVE, Refused, ask
from vllm_worker.engine.client import WorkerLLM
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


@pytest.mark.parametrize("form", [CHAT, COMPLETIONS])
async def test_a_log_probability_that_json_does_not_have_is_one_that_vllm_uses(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    generate = WorkerLLM.__mro__[1].generate

    async def broken(*arguments: Any, **named: Any) -> AsyncGenerator[Any]:
        async for output in generate(*arguments, **named):
            for step in output.prompt_logprobs or ():
                for logprob in (step or {}).values():
                    logprob.logprob = -inf
            yield output

    monkeypatch.setattr(WorkerLLM.__mro__[1], "generate", broken)
    asked = await ask(engine, form, prompt_logprobs=1, max_tokens=1)
    (choice,) = asked.outputs[0]["choices"]
    shown = asked.outputs[0].get("prompt_logprobs") or choice["prompt_logprobs"]
    found = {entry["logprob"] for step in shown if step for entry in step.values()}
    assert found == {-9999.0}
