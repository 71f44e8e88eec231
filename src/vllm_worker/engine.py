"""The engine: vLLM's AsyncLLMEngine and, over it, vLLM's own HTTP application.

The only module besides engine_args.py that imports vLLM. The application is built by the functions
behind `vllm serve`, so its routes, checks and error bodies are those of the installed version.
"""

import argparse
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import cache
from types import SimpleNamespace
from typing import Any

from pydantic import TypeAdapter, ValidationError
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.async_llm_engine import AsyncLLMEngine
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.serve import create_error_response
from vllm.outputs import RequestOutput
from vllm.renderers import ChatParams, TokenizeParams
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from vllm_worker import asgi
from vllm_worker.errors import (
    BadRequest,
    ConfigurationError,
    EngineDead,
    EngineFailure,
    JobError,
    StartFailure,
    VLLMError,
    nearest,
)
from vllm_worker.interface import Delta
from vllm_worker.jobs import NativeJob
from vllm_worker.older_names import with_current_names

_CONTEXT = UsageContext.OPENAI_API_SERVER


class VLLMEngine:
    """Satisfies `interface.Engine`. Build it before the event loop, start it inside."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Loads the model, which takes its time; `arguments` are those of `vllm serve`.

        Raises ConfigurationError where vLLM finds that values contradict each other or the model,
        StartFailure where the model is not to be had or the engine does not start.
        """
        self._arguments = arguments
        # Nobody outside can reach the application, so it asks for no key, not even VLLM_API_KEY.
        arguments.api_key = [""]
        try:
            # The context decides some of vLLM's defaults: those of `vllm serve` are wanted.
            config = AsyncEngineArgs.from_cli_args(arguments).create_engine_config(_CONTEXT)
        except ValueError as error:
            raise ConfigurationError([_without_links(error)]) from None
        except Exception as error:
            raise StartFailure(f"the model's configuration cannot be read: {error}") from error
        try:
            self._llm = AsyncLLMEngine.from_vllm_config(
                config,
                usage_context=_CONTEXT,
                enable_log_requests=arguments.enable_log_requests,
                disable_log_stats=arguments.disable_log_stats,
            )
        except Exception as error:
            raise StartFailure(f"the engine could not be built: {error}") from error
        self._app: Any = None

    @property
    def dead(self) -> bool:
        return bool(self._llm.errored)

    @property
    def unfinished_requests(self) -> int:
        """How many requests the engine holds, waiting or running."""
        return int(self._llm.get_num_unfinished_requests())

    async def start(self) -> None:
        """Builds vLLM's application and generates a token, which warms up most of what jobs use."""
        tasks = await self._llm.get_supported_tasks()
        app = build_app(self._arguments, tasks, self._llm.model_config)
        await init_app_state(self._llm, app.state, self._arguments, tasks)
        # vLLM's handler for a dead engine stops its HTTP server through this; there is none here.
        app.state.server = SimpleNamespace(should_exit=False)
        # A route with a slash too many is unknown, not an empty answer that points elsewhere.
        app.router.redirect_slashes = False
        self._app = app
        if "generate" in tasks:
            job = NativeJob(prompt="Hello", sampling_params={"max_tokens": 1})
            async with aclosing(self.generate(job, "warm-up")) as deltas:
                async for _ in deltas:
                    pass
        # As `vllm serve` does when it is up: what lives now lives on, and need not be searched.
        freeze_gc_heap()

    async def call(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> asgi.Response:
        payload = b"" if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json", "content-length": str(len(payload))}
        return await asgi.request(self._app, method, target, payload, sent | dict(headers or {}))

    async def generate(self, job: NativeJob, request_id: str) -> AsyncGenerator[Delta]:
        try:
            params = _sampling_params(job)
            prompt = await self._render(job)
            async with aclosing(self._llm.generate(prompt, params, request_id)) as outputs:
                async for output in outputs:
                    for delta in _deltas(output):
                        yield delta
        except JobError:
            raise
        except Exception as error:
            raise _named(_translated(error)) from error

    def shutdown(self) -> None:
        self._llm.shutdown()

    async def _render(self, job: NativeJob) -> Any:
        """The prompt as token ids, by the model's chat template where the job asks for it.

        Raises vLLM's errors for a prompt that is longer than the context.
        """
        online = self._app.state.online_renderer
        lengths = TokenizeParams(
            max_total_tokens=self._llm.model_config.max_model_len,
            max_total_tokens_param="max_model_len",
            add_special_tokens=job.chat is None,
        )
        if job.chat is None:
            parsed = parse_model_prompt(self._llm.model_config, job.prompt)
            (prompt,) = await self._llm.renderer.render_cmpl_async([parsed], lengths)
            return prompt
        template = ChatParams(
            chat_template=online.chat_template,
            chat_template_content_format=online.chat_template_content_format,
            chat_template_kwargs={"add_generation_prompt": True},
        ).with_defaults(online.default_chat_template_kwargs)
        _, (prompt,) = await self._llm.renderer.render_chat_async([job.chat], template, lengths)
        return prompt


def _without_links(error: ValueError) -> str:
    """vLLM's reason. Pydantic's text has a heading, and a link after each of its errors."""
    if not isinstance(error, ValidationError):
        return str(error)
    lines = []
    for detail in error.errors(include_url=False):
        name = ".".join(map(str, detail["loc"])).upper()
        reason = detail["msg"].removeprefix("Value error, ")
        lines.append(f"{name}={detail['input']!r}: {reason}" if name else reason)
    return " ".join(lines)


def _deltas(output: RequestOutput) -> list[Delta]:
    """Raises EngineFailure when the engine gave up on the request."""
    if any(completion.finish_reason == "error" for completion in output.outputs):
        raise EngineFailure("The engine failed while it generated.")
    return [
        Delta(
            completion.index,
            completion.text,
            len(completion.token_ids),
            len(output.prompt_token_ids or ()),
            completion.finish_reason,
        )
        for completion in output.outputs
    ]


@cache
def _sampling_schema() -> tuple[TypeAdapter[SamplingParams], frozenset[str]]:
    """vLLM's sampling parameters, and which of them a job may give.

    The rest is how this worker talks to the engine, or vLLM's bookkeeping.
    """
    internal = {"output_kind", "stream_interval", "skip_clone", "output_text_buffer_length",
                "detokenize", "flat_logprobs", "extra_args", "trace_decode_token_ids"}  # fmt: skip
    names = {name for name in SamplingParams.__struct_fields__ if not name.startswith("_")}
    return TypeAdapter(SamplingParams), frozenset(names - internal)


def _sampling_params(job: NativeJob) -> SamplingParams:
    """Raises BadRequest for a parameter that vLLM does not have or whose value it refuses."""
    schema, names = _sampling_schema()
    parameters = with_current_names(job.sampling_params, "sampling_params.")
    for name in parameters:
        if name not in names:
            hint = nearest(name, names) or f" Known are: {', '.join(sorted(names))}."
            field = f"sampling_params.{name}"
            raise BadRequest(f"{field} is not a sampling parameter of this worker.{hint}", field)
    kind = RequestOutputKind.DELTA if job.stream else RequestOutputKind.FINAL_ONLY
    given = json.dumps({**parameters, "output_kind": kind.value})
    try:
        # As JSON, in which strictness allows what JSON has no other way to say: {"12": 1.0}.
        return schema.validate_json(given, strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False)[-1]
        field = f"sampling_params.{detail['loc'][1]}"
        raise BadRequest(f"{field}: {detail['msg']}.", field) from None


def _named(error: JobError) -> JobError:
    """With the parameter that vLLM complains about as the field of the job that it came from."""
    if error.param in _sampling_schema()[1]:
        error.param = f"sampling_params.{error.param}"
    return error


def _translated(error: Exception) -> JobError:
    """vLLM's exceptions as the worker's, by the table that vLLM's own application uses."""
    if isinstance(error, EngineDeadError):
        return EngineDead()
    if isinstance(error, EngineGenerateError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    body = create_error_response(error).model_dump()
    status = int(body["error"]["code"])
    if status == 500:
        return EngineFailure("The engine failed at this job.")
    return VLLMError(status, body)
