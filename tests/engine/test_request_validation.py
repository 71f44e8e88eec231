"""Bodies over which vLLM's own checks stumble."""

from typing import Any

import pytest

from tests.support.asking import CHAT, COMPLETIONS, Refused, ask, run
from vllm_worker.engine.vllm_engine import VLLMEngine


@pytest.mark.parametrize("form", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("value", [True, 5, "json", [{"regex": "a"}]])
async def test_a_field_that_a_check_cannot_look_into_is_named(
    engine: VLLMEngine, form: str, value: Any
) -> None:
    with pytest.raises(Refused) as refused:
        await ask(engine, form, structured_outputs=value)
    assert refused.value.error["code"] == 400
    assert refused.value.error["param"] == "body.structured_outputs"
    assert "dictionary" in refused.value.error["message"]


async def test_what_a_check_finds_itself_is_said_as_ever(engine: VLLMEngine) -> None:
    with pytest.raises(Refused) as refused:
        await ask(engine, COMPLETIONS, structured_outputs={"regex": "a", "json": {}})
    assert refused.value.error["param"] == "structured_outputs"


@pytest.mark.parametrize("name", ["background", "truncation"])
@pytest.mark.parametrize("stream", [False, True])
async def test_null_is_the_default_of_a_response(
    engine: VLLMEngine, name: str, stream: bool
) -> None:
    body = {"input": "Hi", "max_output_tokens": 3, "stream": stream, name: None}
    outputs = await run(engine, {"openai_route": "/v1/responses", "openai_input": body})
    assert outputs


async def test_a_response_s_schema_that_is_found_wrong_when_its_stream_has_begun(
    engine: VLLMEngine,
) -> None:
    wrong = {"type": "json_schema", "name": "x", "schema": {"type": "string", "pattern": "["}}
    body = {"input": "Hi", "stream": True, "text": {"format": wrong}}
    with pytest.raises(Refused) as refused:
        await run(engine, {"openai_route": "/v1/responses", "openai_input": body})
    assert refused.value.error["code"] == 400
