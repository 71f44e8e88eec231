"""Documents of the schemas that people use, by the embedded model."""

import asyncio
import json
from typing import Any

from builder.demo_model.schemas import CASES, LONGEST, follows
from tests.support import asking
from vllm_worker.engine.vllm_engine import VLLMEngine

MAY_BREAK = 5


async def write(engine: VLLMEngine, case: dict[str, Any]) -> str:
    sampling = {"structured_outputs": {"json": case["schema"]}, "max_tokens": LONGEST}
    messages = [{"role": "user", "content": case["question"]}]
    job = {"messages": messages, "sampling_params": sampling | {"temperature": 0}}
    (output,) = await asking.run(engine, job)
    return asking.text_of(output["choices"][0])


async def test_most_documents_end_and_follow_their_schema(engine: VLLMEngine) -> None:
    cases = json.loads(CASES.read_text(encoding="utf-8"))
    texts = await asyncio.gather(*(write(engine, case) for case in cases))
    broken = {
        case["name"]: text
        for case, text in zip(cases, texts, strict=True)
        if not follows(text, case["schema"])
    }
    assert len(cases) > 40
    assert len(broken) <= MAY_BREAK, broken
