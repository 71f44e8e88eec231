"""What of a schema the engine would ignore, asked of its backends themselves and of the engine."""

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from vllm.sampling_params import SamplingParams

from builder.schema_table import (
    FOLLOWED,
    IGNORED,
    REFUSED,
    Case,
    accepted_by_guidance,
    accepted_by_xgrammar,
    cases,
    refusal,
    verdict,
)
from tests.support import asking
from vllm_worker.decoding.structured_output_limits import Limits
from vllm_worker.engine import structured_outputs, warmup
from vllm_worker.engine.protocol import BACKEND
from vllm_worker.engine.vllm_engine import VLLMEngine

BY_GUIDANCE: list[dict[str, Any]] = [
    {"type": ["number", "null"], "multipleOf": 0.5, "minimum": 1, "maximum": 3},
    {"type": "string", "pattern": "^[ab]+$", "minLength": 4, "maxLength": 9},
    {"type": "string", "enum": ["a", "bb", 1], "minLength": 2},
    {
        "type": "array",
        "items": {"type": "string", "pattern": "^[xyz]+$", "maxLength": 3},
        "minItems": 2,
        "maxItems": 2,
    },
]
"""Schemas of which xgrammar would ignore a part."""
BY_XGRAMMAR: dict[str, Any] = {"enum": ["red", "green"]}
BY_NONE: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
ONE_OF_TWO = "oneOf overlap"
"""oneOf counts as anyOf: whether two of its branches overlap is not to be seen from the schema."""
TOO_CAREFUL = {
    "minContains", "propertyNames+properties", "patternProperties+properties",
    "unevaluated over anyOf", "format+pattern 2", "pattern in ref",
}  # fmt: skip
"""Refused although this output is held: in other schemas with the same keywords one is not."""


async def answer(engine: VLLMEngine, schema: Any) -> str:
    sampling = {"structured_outputs": {"json": schema}, "max_tokens": 100, "temperature": 0}
    (output,) = await asking.run(engine, {"prompt": asking.QUESTION, "sampling_params": sampling})
    return asking.text_of(output["choices"][0])


def test_there_are_many_cases() -> None:
    assert len(cases()) > 150
    assert len({case.name for case in cases()}) == len(cases())


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_nothing_is_ignored_in_silence_and_nothing_refused_without_need(case: Case) -> None:
    found = verdict(case, accepted_by_xgrammar)
    if found == IGNORED:
        assert refusal(case) or case.name == ONE_OF_TWO
    if found == FOLLOWED:
        assert not refusal(case) or case.name in TOO_CAREFUL


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_what_is_not_left_to_xgrammar_is_not_ignored_by_guidance(case: Case) -> None:
    if refusal(case):
        assert verdict(case, accepted_by_guidance) in (FOLLOWED, REFUSED)


async def test_requests_of_one_batch_have_the_backend_that_follows_their_schema(
    engine: VLLMEngine,
) -> None:
    schemas = [*BY_GUIDANCE, BY_XGRAMMAR] * 2
    for schema, text in zip(
        schemas, await asyncio.gather(*(answer(engine, schema) for schema in schemas)), strict=True
    ):
        jsonschema.validate(json.loads(text), schema)


async def test_what_no_backend_follows_is_refused(engine: VLLMEngine) -> None:
    with pytest.raises(asking.Refused, match=r"uniqueItems.*neither"):
        await answer(engine, BY_NONE)


async def test_a_core_that_does_not_heed_the_choice_has_such_schemas_refused(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structured_outputs, "BACKEND", "a name that the core does not know")
    assert not await warmup.guidance(engine)
    monkeypatch.setattr(engine._llm, "offers_guidance", False)
    with pytest.raises(asking.Refused, match=r"pattern.*does not hold"):
        await answer(engine, BY_GUIDANCE[1])


def test_a_client_does_not_choose_a_backend() -> None:
    params = SamplingParams(extra_args={BACKEND: "outlines", "other": 1})
    structured_outputs.prepare(params, None, Limits(), offers_guidance=True)
    assert params.extra_args == {"other": 1}
