"""The chunks of real streams."""

import asyncio
import itertools
import json
from typing import Any

import pytest

from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.worker import Worker

SAMPLING = {"max_tokens": 160, "ignore_eos": True, "temperature": 0}
NATIVE = {"prompt": "RunPod is", "stream": True, "sampling_params": SAMPLING}
OPENAI: dict[str, Any] = {
    "openai_route": "/v1/completions",
    "openai_input": {"model": "demo", "prompt": "RunPod is", "stream": True} | SAMPLING,
}


def openai(**body: Any) -> dict[str, Any]:
    return OPENAI | {"openai_input": OPENAI["openai_input"] | body}


def events(chunk: str) -> list[Any]:
    data = [event.removeprefix("data: ") for event in chunk.split("\n\n") if event]
    return [json.loads(event) for event in data if event != "[DONE]"]


def text_of(chunk: str) -> str:
    return "".join(c["text"] for event in events(chunk) for c in event["choices"])


async def outputs(engine: VLLMEngine, job: dict[str, Any], **environ: str) -> list[Any]:
    worker = Worker(load_settings(environ), engine)
    return [output async for output in worker.handle({"id": "job", "input": job})]


def sizes(chunks: list[Any]) -> list[int]:
    totals = [0] + [chunk["usage"]["output"] for chunk in chunks]
    return [total - before for before, total in itertools.pairwise(totals)]


async def test_without_a_delay_chunks_have_the_sizes_of_the_schedule(engine: VLLMEngine) -> None:
    chunks = await outputs(engine, NATIVE, STREAM_MAX_DELAY_MS="0")
    assert sizes(chunks) == [1, 3, 9, 27, 50, 50, 20]
    job = NATIVE | {"min_batch_size": 2, "max_batch_size": 10, "batch_size_growth_factor": 2}
    chunks = await outputs(engine, job, STREAM_MAX_DELAY_MS="0")
    assert sizes(chunks) == [2, 4, 8] + [10] * 14 + [6]


async def test_the_delay_sends_chunks_before_they_are_full(engine: VLLMEngine) -> None:
    job = NATIVE | {"min_batch_size": 160, "max_batch_size": 160}
    (whole,) = await outputs(engine, job, STREAM_MAX_DELAY_MS="0")
    chunks = await outputs(engine, job, STREAM_MAX_DELAY_MS="20")
    assert len(chunks) > 3
    assert sum(sizes(chunks)) == 160
    texts = [text for chunk in chunks for text in chunk["choices"][0]["tokens"]]
    assert "".join(texts) == "".join(whole["choices"][0]["tokens"])


async def test_a_chunk_of_an_openai_stream_is_one_event_while_nobody_can_tell(
    engine: VLLMEngine,
) -> None:
    usage = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    chunks = await outputs(engine, openai(**usage), STREAM_MAX_DELAY_MS="0")
    totals = [events(chunk)[0]["usage"]["completion_tokens"] for chunk in chunks]
    assert totals == [1, 4, 13, 40, 90, 140, 160]
    assert [len(events(chunk)) for chunk in chunks] == [1] * 6 + [2]  # the last is the usage


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"logprobs": 1}, 160),
        ({"logprobs": 0}, 160),
        ({"return_token_ids": True}, 160),
        ({"n": 2, "temperature": 1}, 320),
        ({"prompt": ["RunPod is", "vLLM is"]}, 320),
    ],
)
async def test_where_one_could_tell_each_token_is_an_event(
    engine: VLLMEngine, body: Any, tokens: int
) -> None:
    chunks = await outputs(engine, openai(**body), STREAM_MAX_DELAY_MS="0")
    # vLLM itself merges what a busy machine could not read in time; joined by us it were a tenth.
    assert 0.8 * tokens <= sum(len(events(chunk)) for chunk in chunks) <= tokens


async def test_the_delay_works_on_openai_streams_too(engine: VLLMEngine) -> None:
    environ = {"DEFAULT_BATCH_SIZE": "1000", "DEFAULT_MIN_BATCH_SIZE": "1000"}
    (whole,) = await outputs(engine, openai(), STREAM_MAX_DELAY_MS="0", **environ)
    chunks = await outputs(engine, openai(), STREAM_MAX_DELAY_MS="20", **environ)
    assert len(chunks) > 3
    assert "".join(map(text_of, chunks)) == text_of(whole)
    assert all(chunk.startswith("data: ") and chunk.endswith("\n\n") for chunk in chunks)


@pytest.mark.parametrize("stop", [None, [" is"], ["e", "s, "], ["never said"]])
@pytest.mark.parametrize("prompt", ["RunPod is", "\u4f60\u597d \U0001f680"])
async def test_a_stream_says_what_is_said_at_once(
    engine: VLLMEngine, prompt: str, stop: list[str] | None
) -> None:
    sampling = {"max_tokens": 100, "temperature": 1.5, "seed": 1, "stop": stop}
    job = {"prompt": prompt, "sampling_params": sampling}
    (whole,) = await outputs(engine, job)
    chunks = await outputs(engine, job | {"stream": True})
    texts = [text for chunk in chunks for text in chunk["choices"][0]["tokens"]]
    assert ["".join(texts)] == whole["choices"][0]["tokens"]
    assert len(texts) == chunks[-1]["usage"]["output"] == whole["usage"]["output"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    body = sampling | {"prompt": prompt, "model": "demo", "stream": True}
    streamed = await outputs(engine, OPENAI | {"openai_input": body})
    assert "".join(map(text_of, streamed)) == "".join(texts)


async def test_what_a_slow_reader_gets(engine: VLLMEngine) -> None:
    """Chunks as large as they may be, of all that came while it was busy with the one before."""

    async def read_slowly(job: dict[str, Any]) -> list[Any]:
        chunks = []
        worker = Worker(load_settings({"STREAM_MAX_DELAY_MS": "1"}), engine)
        async for chunk in worker.handle({"id": "job", "input": job}):
            chunks.append(chunk)
            while engine.unfinished_requests:  # all that comes, comes during the first chunk
                await asyncio.sleep(0.01)
        return chunks

    assert sizes(await read_slowly(NATIVE)) == [1, 3, 9, 27, 50, 50, 20]
    assert [len(events(chunk)) for chunk in await read_slowly(openai())] == [1, 1]


async def test_parsed_events(engine: VLLMEngine) -> None:
    raw = "".join(await outputs(engine, openai()))
    parsed = await outputs(engine, openai(), RAW_OPENAI_OUTPUT="0")
    assert [event["object"] for chunk in parsed for event in chunk] == ["text_completion"] * len(
        parsed
    )  # [DONE] is left out
    assert "".join(event["choices"][0]["text"] for chunk in parsed for event in chunk) == text_of(
        raw
    )


async def test_nothing_is_left_in_the_engine(engine: VLLMEngine) -> None:
    await outputs(engine, NATIVE)
    worker = Worker(load_settings({}), engine)
    abandoned = worker.handle({"id": "job", "input": NATIVE})
    await anext(abandoned)
    assert engine.unfinished_requests == 1
    await abandoned.aclose()
    await outputs(engine, NATIVE | {"sampling_params": {"max_tokens": 1}})
    assert engine.unfinished_requests == 0
