"""One real engine for all tests here, in this process and in one event loop."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from vllm_worker.configuration import load_configuration
from vllm_worker.engine.args import parse_engine_args
from vllm_worker.engine.vllm_engine import VLLMEngine

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every asynchronous test runs in the loop that the engine lives in."""
    for item in items:
        if item.path.parent == HERE and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def engine() -> AsyncIterator[VLLMEngine]:
    """Ends before tests that start workers, which would inherit its variables and share memory."""
    environment = dict(os.environ)
    engine = VLLMEngine(parse_engine_args(load_configuration({"MAX_MODEL_LEN": "1024"})))
    await engine.start()
    yield engine
    engine.shutdown()
    os.environ.clear()
    os.environ.update(environment)
