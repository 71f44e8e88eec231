"""vLLM's own HTTP application over the engine, with no HTTP server.

It is built by the functions behind `vllm serve`, so its routes, checks and error bodies are those
of the installed version.
"""

import argparse
from types import SimpleNamespace
from typing import Any

from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app

from vllm_worker.engine import lora


async def build(llm: Any, arguments: argparse.Namespace, tasks: Any) -> Any:
    """The application; `arguments` are those of `vllm serve`, `tasks` what the model can do.

    Raises StartFailure for an adapter that cannot be loaded.
    """
    app = build_app(arguments, tasks, llm.model_config)
    try:
        await init_app_state(llm, app.state, arguments, tasks)
    except ValueError as error:
        raise lora.failure(error, app.state) or error from None
    # vLLM's handler for a dead engine stops its HTTP server through this; there is none here.
    app.state.server = SimpleNamespace(should_exit=False)
    # A route with a slash too many is unknown, not an empty answer that points elsewhere.
    app.router.redirect_slashes = False
    return app
