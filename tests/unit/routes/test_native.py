"""The native route: deltas of an engine become the outputs of a job."""

from typing import Any

from tests.support.fake_engine import FakeEngine, words
from vllm_worker.configuration.settings import load_settings
from vllm_worker.engine.protocol import Delta, RequestContext
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.routes import native as native_route
from vllm_worker.streaming.schedule import Schedule

CONTEXT = RequestContext("job-1")


def settings(**environ: str) -> Any:
    return load_settings({"STREAM_MAX_DELAY_MS": "0"} | environ)


async def native(job: dict[str, Any], *deltas: Any) -> list[Any]:
    engine = FakeEngine(deltas)
    return [o async for o in native_route.answer(NativeJob(**job), CONTEXT, engine, settings())]


def test_a_job_changes_the_schedule_where_it_says_so() -> None:
    default = Schedule(1, 50, 3)
    assert native_route.schedule_of(NativeJob(prompt=""), default) == default
    sizes = {"min_batch_size": 2, "max_batch_size": 10, "batch_size_growth_factor": 2}
    job = NativeJob.model_validate({"prompt": "", **sizes})
    assert native_route.schedule_of(job, default) == Schedule(2, 10, 2)


async def test_a_native_job_that_does_not_stream_has_one_output() -> None:
    final = Delta(0, ["All of it."], 4, input_tokens=5, finish_reason="stop")
    assert await native({"prompt": "x"}, final) == [
        {
            "choices": [{"tokens": ["All of it."], "finish_reason": "stop"}],
            "usage": {"input": 5, "output": 4},
        }
    ]


async def test_a_native_stream_counts_on_and_ends_with_the_finish_reason() -> None:
    outputs = await native({"prompt": "x", "stream": True}, *words("a", "b", "c", "d", "e"))
    assert outputs == [
        {"choices": [{"tokens": ["a"]}], "usage": {"input": 5, "output": 1}},
        {"choices": [{"tokens": ["b", "c", "d"]}], "usage": {"input": 5, "output": 4}},
        {
            "choices": [{"tokens": ["e"], "finish_reason": "stop"}],
            "usage": {"input": 5, "output": 5},
        },
    ]


async def test_tokens_are_counted_not_deltas() -> None:
    merged = Delta(0, ["abcdef"], 6, input_tokens=5, finish_reason="length")
    outputs = await native({"prompt": "x", "stream": True}, merged)
    assert [output["usage"]["output"] for output in outputs] == [1, 4, 6]
    texts = [text for output in outputs for text in output["choices"][0]["tokens"]]
    assert "".join(texts) == "abcdef"


async def test_each_choice_gets_its_own_tokens_and_finish_reason() -> None:
    deltas = [
        Delta(0, ["a"], 1, 5),
        Delta(1, ["b"], 1, 5, "stop"),
        Delta(0, ["c"], 1, 5, "length"),
    ]
    job = {"prompt": "x", "stream": True, "sampling_params": {"n": 2}, "min_batch_size": 2}
    first, last = await native(job, *deltas)
    assert first["choices"] == [{"tokens": ["a"]}, {"tokens": ["b"]}]
    assert last["choices"] == [
        {"tokens": ["c"], "finish_reason": "length"},
        {"tokens": [], "finish_reason": "stop"},
    ]
