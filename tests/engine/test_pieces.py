"""The pieces of real streams."""

import itertools
from typing import Any

from vllm_worker.engine import VLLMEngine
from vllm_worker.settings import load_settings
from vllm_worker.worker import Worker

SAMPLING = {"max_tokens": 160, "ignore_eos": True, "temperature": 0}
NATIVE = {"prompt": "RunPod is", "stream": True, "sampling_params": SAMPLING}
OPENAI = {
    "openai_route": "/v1/completions",
    "openai_input": {"model": "demo", "prompt": "RunPod is", "stream": True} | SAMPLING,
}


async def outputs(engine: VLLMEngine, job: dict[str, Any], **environ: str) -> list[Any]:
    worker = Worker(load_settings(environ), engine)
    return [output async for output in worker.handle({"id": "job", "input": job})]


def sizes(pieces: list[Any]) -> list[int]:
    totals = [0] + [piece["usage"]["output"] for piece in pieces]
    return [total - before for before, total in itertools.pairwise(totals)]


async def test_without_a_delay_pieces_have_the_sizes_of_the_schedule(engine: VLLMEngine) -> None:
    pieces = await outputs(engine, NATIVE, STREAM_MAX_DELAY_MS="0")
    assert sizes(pieces) == [1, 3, 9, 27, 50, 50, 20]
    job = NATIVE | {"min_batch_size": 2, "max_batch_size": 10, "batch_size_growth_factor": 2}
    pieces = await outputs(engine, job, STREAM_MAX_DELAY_MS="0")
    assert sizes(pieces) == [2, 4, 8] + [10] * 14 + [6]


async def test_the_delay_sends_pieces_before_they_are_full(engine: VLLMEngine) -> None:
    job = NATIVE | {"min_batch_size": 160, "max_batch_size": 160}
    (whole,) = await outputs(engine, job, STREAM_MAX_DELAY_MS="0")
    pieces = await outputs(engine, job, STREAM_MAX_DELAY_MS="20")
    assert len(pieces) > 3
    assert sum(sizes(pieces)) == 160
    texts = [text for piece in pieces for text in piece["choices"][0]["tokens"]]
    assert "".join(texts) == "".join(whole["choices"][0]["tokens"])


async def test_the_delay_works_on_openai_streams_too(engine: VLLMEngine) -> None:
    environ = {"DEFAULT_BATCH_SIZE": "1000", "DEFAULT_MIN_BATCH_SIZE": "1000"}
    (whole,) = await outputs(engine, OPENAI, STREAM_MAX_DELAY_MS="0", **environ)
    pieces = await outputs(engine, OPENAI, STREAM_MAX_DELAY_MS="20", **environ)
    assert len(pieces) > 3
    assert "".join(pieces).count("data: ") == whole.count("data: ")
    assert all(piece.startswith("data: ") and piece.endswith("\n\n") for piece in pieces)


async def test_parsed_events(engine: VLLMEngine) -> None:
    raw = "".join(await outputs(engine, OPENAI))
    parsed = await outputs(engine, OPENAI, RAW_OPENAI_OUTPUT="0")
    events = [event for piece in parsed for event in piece]
    assert len(events) == raw.count("data: ") - 1  # [DONE] is left out
    assert {event["object"] for event in events} == {"text_completion"}


async def test_nothing_is_left_in_the_engine(engine: VLLMEngine) -> None:
    await outputs(engine, NATIVE)
    worker = Worker(load_settings({}), engine)
    abandoned = worker.handle({"id": "job", "input": NATIVE})
    await anext(abandoned)
    assert engine.unfinished_requests == 1
    await abandoned.aclose()
    await outputs(engine, NATIVE | {"sampling_params": {"max_tokens": 1}})
    assert engine.unfinished_requests == 0
