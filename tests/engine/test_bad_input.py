"""The whole table of bad input on the real engine, and a good job after each."""

import asyncio

import pytest

from tests.support.asking import NATIVE, Refused, ask, run
from tests.support.bad_inputs import CASES, Case
from vllm_worker.engine.vllm_engine import VLLMEngine

_BOUND_S = 60
"""Against what never ends; no case takes more than a few seconds."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_wrong_is_said_and_a_good_job_is_answered(
    engine: VLLMEngine, case: Case
) -> None:
    async with asyncio.timeout(_BOUND_S):
        if case.says is None:
            assert await run(engine, case.input)
        else:
            with pytest.raises(Refused) as refused:
                await run(engine, case.input)
            error = refused.value.error
            assert error.keys() == {"message", "type", "param", "code"}
            assert (error["code"], case.says in error["message"]) == (case.code, True), error
            assert "Traceback" not in error["message"]
        assert (await ask(engine, NATIVE, max_tokens=2, ignore_eos=True)).tokens == 2
        assert engine.unfinished_requests == 0


@pytest.mark.parametrize("call_id", ["call_1", None])
async def test_the_result_of_a_tool_may_come_in_parts(
    engine: VLLMEngine, call_id: str | None
) -> None:
    """As OpenAI's clients repeat items of earlier answers; vLLM's own check fails on it."""
    parts = [{"type": "input_text", "text": "sunny"}, {"type": "input_text", "text": ""}]
    result = {"type": "function_call_output", "id": "fc_1", "call_id": call_id, "output": parts}
    body = {"model": "demo", "input": [result | {"status": "completed"}], "max_output_tokens": 4}
    (output,) = await run(engine, {"openai_route": "/v1/responses", "openai_input": body})
    assert output["status"] in ("completed", "incomplete"), output
