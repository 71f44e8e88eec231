"""What the log says of a job that a real engine answered."""

import asyncio
from typing import Any

import pytest

from tests.support.asking import CHAT, COMPLETIONS, NATIVE, ask
from vllm_worker.engine.vllm_engine import VLLMEngine


@pytest.mark.parametrize("form", [CHAT, COMPLETIONS, NATIVE])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_engine_counts_for_the_log(
    engine: VLLMEngine, form: str, stream: bool, worker_log: pytest.LogCaptureFixture
) -> None:
    parameters: dict[str, Any] = {"max_tokens": 7, "ignore_eos": True}
    tokens_in = (await ask(engine, form, **parameters)).input_tokens
    worker_log.clear()
    await asyncio.create_task(ask(engine, form, **parameters, stream=stream))
    await asyncio.sleep(0)  # the line is written when the task has ended
    (line,) = [
        r.getMessage() for r in worker_log.records if r.name == "vllm_worker.observability.job_log"
    ]
    assert f"{tokens_in} tokens in, 7 out, first token after " in line
