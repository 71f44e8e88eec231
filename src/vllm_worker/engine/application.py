"""vLLM's own HTTP application over the engine, with no HTTP server.

It is built by the functions behind `vllm serve`, so its routes, checks and error bodies are those
of the installed version.
"""

import argparse
import json
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.routing import Match

from vllm_worker.engine import lora
from vllm_worker.engine.patches.seams import find
from vllm_worker.engine.protocol import VLLMRequest
from vllm_worker.errors import BadRequest

_STUMBLES = (AttributeError, LookupError, TypeError, RecursionError)
"""Exceptions of checks that look into a body before its types are known."""


async def build(llm: Any, arguments: argparse.Namespace, tasks: Any) -> Any:
    """The application; `arguments` are those of `vllm serve`, `tasks` what the model can do.

    Raises StartFailure for an adapter that cannot be loaded.
    """
    # Nobody outside can reach the application, so it asks for no key.
    os.environ.pop("VLLM_API_KEY", None)
    arguments.api_key = []
    app = find("build_app")(arguments, tasks, llm.model_config)
    app.user_middleware = [each for each in app.user_middleware if not _is_for_servers(each)]
    app.middleware_stack = app.build_middleware_stack()
    try:
        await find("init_app_state")(llm, app.state, arguments, tasks)
    except ValueError as error:
        raise lora.failure(error, app.state) or error from None
    # vLLM's handler for a dead engine stops its HTTP server through this; there is none here.
    app.state.server = SimpleNamespace(should_exit=False)
    # A route with a slash too many is unknown, not an empty answer that points elsewhere.
    app.router.redirect_slashes = False
    return app


def passes_text_on(arguments: argparse.Namespace) -> bool:
    """Whether the application does nothing with the text of a plain stream but write it.

    A parser of the newer kind reads the text of requests without tools as well.
    """
    if arguments.enable_log_outputs:
        return False
    parser = arguments.tool_call_parser if arguments.enable_auto_tool_choice else None
    if not parser:
        return True
    found = find("ToolParserManager").get_tool_parser(parser)
    return not getattr(found, "engine_based_streaming", False)


def _is_for_servers(middleware: Any) -> bool:
    """Whether it would take its share of time of each part of a stream, for what only an HTTP
    server has: the origins of web pages, and metrics that the worker has itself.
    """
    return middleware.cls.__name__ in ("CORSMiddleware", "PrometheusInstrumentatorMiddleware")


def stumbled(app: Any, request: VLLMRequest) -> BadRequest | None:
    """The wrong fields of a request's body, where the application's checks stumble over them.

    vLLM has checks that look into a body before its types are known, and end with an AttributeError
    or the like, status 500, on a list where an object should be.
    """
    try:
        body = json.loads(request.content)
        models = list(_body_models(_endpoint(app, request)))
    except Exception:
        return None
    for model in models:
        if _stumbles(model, body):
            wrong = list(_wrong_fields(model, body)) or ["body cannot be read"]
            return BadRequest(" ".join(f"{line}." for line in wrong), wrong[0].partition(" ")[0])
    return None


def _endpoint(app: Any, request: VLLMRequest) -> Any:
    scope = {"type": "http", "path": request.target.partition("?")[0], "method": request.method}
    return next(route.endpoint for route in app.routes if route.matches(scope)[0] == Match.FULL)


def _body_models(endpoint: Any) -> Iterator[type[BaseModel]]:
    for hint in get_type_hints(endpoint).values():
        for model in get_args(hint) or [hint]:
            if isinstance(model, type) and issubclass(model, BaseModel):
                yield model


def _stumbles(model: type[BaseModel], body: Any) -> bool:
    try:
        model.model_validate(body)
    except ValidationError:
        return False
    except _STUMBLES:
        return True
    return False


def _wrong_fields(model: type[BaseModel], body: Any) -> Iterator[str]:
    """A line for each field whose value does not have its type, each looked at by itself."""
    for name, field in model.model_fields.items() if isinstance(body, dict) else ():
        if name not in body:
            continue
        kind: Any = Annotated[field.annotation, field]
        try:
            TypeAdapter(kind).validate_python(body[name])
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                place = ".".join(map(str, ("body", name, *detail["loc"])))
                yield f"{place} {detail['msg'].replace('Input should be', 'should be')}"
        except _STUMBLES as error:
            yield f"body.{name} cannot be read ({type(error).__name__})"
