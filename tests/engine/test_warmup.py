"""The warm-up: real requests that the engine answers, and no reason for a start to fail."""

from types import SimpleNamespace
from typing import Any

from vllm_worker.engine import warmup
from vllm_worker.engine.vllm_engine import VLLMEngine


async def test_every_request_of_the_warm_up_is_answered(engine: VLLMEngine) -> None:
    statuses = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        await engine._app(scope, receive, note)

    await warmup.ask_application(watched, "demo", tools=True)
    assert statuses == [200] * 4
    sent = await warmup.send_requests(engine._llm)
    assert [(await output.get()).finished for output in sent] == [True, True]


async def test_a_warm_up_that_fails_is_left_out() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no chats here")

    await warmup.ask_application(broken, "demo", tools=True)
    assert await warmup.send_requests(SimpleNamespace()) == []
