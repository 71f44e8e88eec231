"""The warm-up: jobs of each kind that the engine answers, and no ready worker without them."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from vllm_worker.engine import media_connector, warmup
from vllm_worker.engine.protocol import Delta, RequestContext, VLLMRequest
from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.errors import EngineFailure, StartFailure
from vllm_worker.jobs import public_fetch
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.streaming.flow_control import FlowGrade


async def test_every_job_of_the_warm_up_is_answered(engine: VLLMEngine) -> None:
    await warmup.native(engine)
    await warmup.limits(engine)
    await warmup.media()
    assert await warmup.chats(engine, "demo", tools=True) is None
    assert await warmup.stream(engine)
    sent = await warmup.send_requests(engine._llm)
    assert [(await output.get()).finished for output in sent] == [True, True]


class Broken:
    """An engine whose jobs fail, or that generates as many tokens as it likes."""

    def __init__(self, *deltas: Delta) -> None:
        self._deltas = deltas

    async def generate(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Delta]:
        if not self._deltas:
            raise EngineFailure("broken") from TypeError("takes 2 positional arguments")
        for delta in self._deltas:
            yield delta

    async def call(self, request: VLLMRequest, context: RequestContext) -> Any:
        raise TypeError("no chats here")


async def test_a_job_that_fails_ends_the_start_with_the_reason() -> None:
    with pytest.raises(StartFailure, match=r"native job failed .*takes 2 positional arguments"):
        await warmup.native(Broken())
    with pytest.raises(StartFailure, match=r"a chat failed .*TypeError: no chats here"):
        await warmup.chats(Broken(), "demo", tools=False)
    with pytest.raises(StartFailure, match="an embedding failed"):
        await warmup.embedding(Broken(), "demo")


async def test_tokens_that_are_missing_end_the_start() -> None:
    one = Delta(0, ["x"], 1, input_tokens=1, finish_reason="stop")
    with pytest.raises(StartFailure, match="a native job failed"):
        await warmup.native(Broken(one))
    with pytest.raises(StartFailure, match="a native stream failed"):
        await warmup.stream(Broken(one))


async def test_a_limit_that_does_not_hold_ends_the_start() -> None:
    with pytest.raises(StartFailure, match="1001 stop strings were not refused"):
        await warmup.limits(Broken(Delta(0, ["x"], 1, input_tokens=1)))


async def test_a_guard_that_fetches_from_this_machine_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media_connector.GuardedConnector, "_is_unnamed", lambda *_: False)
    with pytest.raises(StartFailure, match="guard of media URLs"):
        await warmup.media()


async def test_a_guard_that_is_not_asked_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_fetch, "is_public", lambda address: True)
    with pytest.raises(StartFailure, match="an address of this machine was not refused"):
        await warmup.media()


async def test_a_grade_of_flow_control_without_effect_gives_way_to_the_next(
    engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch, worker_log: pytest.LogCaptureFixture
) -> None:
    tried = []

    async def stream(engine: VLLMEngine) -> bool:
        tried.append(engine._llm.flow_grade)
        return len(tried) == 3

    monkeypatch.setattr(warmup, "stream", stream)
    before = engine._llm.flow_grade
    engine._llm.flow_grade = FlowGrade.STATE
    await engine._warm_up_streams()
    assert tried == [FlowGrade.STATE, FlowGrade.COLLECTOR, FlowGrade.INTERVAL]
    assert engine._llm.flow_grade is FlowGrade.INTERVAL
    assert "no effect in grade collector" in worker_log.text
    engine._llm.flow_grade = before
