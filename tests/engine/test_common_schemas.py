"""Documents of the schemas that people use, by the embedded model."""

import asyncio
import json
from typing import Any

import jsonschema

from tests.support import asking
from tests.support.tree import ROOT
from vllm_worker.engine.vllm_engine import VLLMEngine

CASES = json.loads((ROOT / "builder/demo_model/corpus/common_schemas.json").read_text())
LONGEST = 200
MAY_BREAK = 5


async def write(engine: VLLMEngine, case: dict[str, Any]) -> str:
    sampling = {"structured_outputs": {"json": case["schema"]}, "max_tokens": LONGEST}
    messages = [{"role": "user", "content": case["question"]}]
    job = {"messages": messages, "sampling_params": sampling | {"temperature": 0}}
    (output,) = await asking.run(engine, job)
    return asking.text_of(output["choices"][0])


def follows(text: str, schema: Any) -> bool:
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


async def test_most_documents_end_and_follow_their_schema(engine: VLLMEngine) -> None:
    texts = await asyncio.gather(*(write(engine, case) for case in CASES))
    broken = {
        case["name"]: text
        for case, text in zip(CASES, texts, strict=True)
        if not follows(text, case["schema"])
    }
    assert len(CASES) > 40
    assert len(broken) <= MAY_BREAK, broken
