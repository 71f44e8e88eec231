"""Flow control in each of its grades: chunks, their delay, and the tokens that are counted."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine import warmup
from vllm_worker.engine.patches import request_state
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.streaming.flow_control import FlowGrade
from vllm_worker.worker import Worker

TOKENS = 160
SAMPLING = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
NATIVE = {"prompt": "RunPod is", "stream": True, "sampling_params": SAMPLING}
COMPLETION: dict[str, Any] = {
    "openai_route": "/v1/completions",
    "openai_input": {"model": "demo", "prompt": "RunPod is", "stream": True} | SAMPLING,
}


@pytest.fixture(params=FlowGrade)
def grade(engine: VLLMEngine, request: pytest.FixtureRequest) -> Iterator[FlowGrade]:
    """The engine in this grade, and as it was afterwards."""
    before = engine._llm.flow_grade
    engine._llm.flow_grade = request.param
    if request.param is not FlowGrade.STATE:
        request_state.uninstall()
    yield request.param
    engine._llm.flow_grade = before
    request_state.install()


async def outputs(engine: VLLMEngine, job: dict[str, Any], **environ: str) -> list[Any]:
    worker = Worker(load_settings({"STREAM_MAX_DELAY_MS": "0"} | environ), engine)
    return [output async for output in worker.handle({"id": "job", "input": job})]


def text_of(chunks: list[Any]) -> str:
    return "".join(text for chunk in chunks for text in chunk["choices"][0]["tokens"])


async def test_chunks_of_a_native_stream_follow_the_schedule(
    engine: VLLMEngine, grade: FlowGrade
) -> None:
    chunks = await outputs(engine, NATIVE)
    totals = [0] + [chunk["usage"]["output"] for chunk in chunks]
    sizes = [total - before for before, total in itertools.pairwise(totals)]
    assert sum(sizes) == TOKENS
    assert max(sizes) <= 50
    if grade is not FlowGrade.INTERVAL:
        assert sizes == [1, 3, 9, 27, 50, 50, 20]
    (whole,) = await outputs(engine, NATIVE | {"stream": False})
    assert text_of(chunks) == text_of([whole])
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_an_openai_stream_needs_as_few_chunks(engine: VLLMEngine, grade: FlowGrade) -> None:
    chunks = await outputs(engine, COMPLETION)
    assert len(chunks) <= 8
    text = "".join(chunks)
    assert text.endswith("data: [DONE]\n\n")
    events = text.count('"text":')
    assert events == TOKENS if grade is FlowGrade.OFF else events <= 8


async def test_a_chunk_leaves_when_its_delay_is_over(engine: VLLMEngine, grade: FlowGrade) -> None:
    job = NATIVE | {"min_batch_size": TOKENS, "max_batch_size": TOKENS}
    chunks = await outputs(engine, job, STREAM_MAX_DELAY_MS="20")
    if grade is not FlowGrade.INTERVAL:  # vLLM's own has no limit in time
        assert len(chunks) > 2
    assert chunks[-1]["usage"]["output"] == TOKENS


@pytest.mark.usefixtures("grade")
@pytest.mark.parametrize("job", [NATIVE, NATIVE | {"stream": False}, COMPLETION])
async def test_tokens_are_counted_once(
    engine: VLLMEngine, job: dict[str, Any], worker_log: pytest.LogCaptureFixture
) -> None:
    worker = Worker(load_settings({}), engine)

    async def answer() -> None:
        async for _ in worker.handle({"id": "job", "input": job}):
            pass

    await asyncio.create_task(answer())
    await asyncio.sleep(0)
    (line,) = [r.getMessage() for r in worker_log.records if r.name.endswith(".job_log")]
    assert f"tokens in, {TOKENS} out, first token after" in line
    assert ", 0 tokens in" not in line


async def test_a_request_that_cannot_be_satisfied_is_named(
    engine: VLLMEngine, grade: FlowGrade
) -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    sampling = {"max_tokens": 5, "structured_outputs": {"json": schema}}
    (failed,) = await outputs(engine, {"prompt": "x", "sampling_params": sampling})
    assert "structured output" in failed["error"]
    assert '"code": 400' in failed["error"]


async def test_the_warm_up_tells_whether_tokens_are_buffered(
    engine: VLLMEngine, grade: FlowGrade
) -> None:
    assert await warmup.stream(engine) is (grade is not FlowGrade.OFF)
