"""No route of the installed vLLM is open by accident."""

import ast
import re
from pathlib import Path

import vllm.entrypoints

from vllm_worker.engine.vllm_engine import VLLMEngine
from vllm_worker.routes.allowlist import ALLOWED, REFUSED

NAMED = {*ALLOWED, *(route for routes in REFUSED.values() for route in routes)}


async def test_every_route_of_the_running_application_is_allowed_or_refused_by_name(
    engine: VLLMEngine,
) -> None:
    assert {route.path for route in engine._app.routes} - NAMED == set()


def test_every_route_in_vllms_source_is_allowed_or_refused_by_name() -> None:
    """Those of other models, too, and of settings that this engine does not have."""
    routes = set()
    for path in Path(next(iter(vllm.entrypoints.__path__))).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                if re.fullmatch(r"(router|app)\.(get|post|put|patch|delete|websocket)", called):
                    routes |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    assert len(routes) > 50
    assert routes - NAMED == set()


async def test_the_worker_stays_shut_to_what_would_change_it(engine: VLLMEngine) -> None:
    from vllm_worker.configuration.settings import load_settings
    from vllm_worker.worker import Worker

    worker = Worker(load_settings({}), engine)
    for routes in REFUSED.values():
        for route in routes:
            job = {"id": "job", "input": {"route": route, "method": "POST", "body": {"a": 1}}}
            (output,) = [output async for output in worker.handle(job)]
            assert "is closed to jobs" in output["error"], route
