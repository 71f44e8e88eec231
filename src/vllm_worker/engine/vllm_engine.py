"""The engine: vLLM's AsyncLLMEngine and, over it, vLLM's own HTTP application.

Only this module and the engine_*.py import vLLM. The application is built by the functions
behind `vllm serve`, so its routes, checks and error bodies are those of the installed version.
"""

import argparse
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.async_llm_engine import AsyncLLMEngine
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import propagate_flash_late_interaction
from vllm.lora.request import LoRARequest
from vllm.renderers import ChatParams, TokenizeParams
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.exceptions import EngineDeadError

from vllm_worker.decoding.parameters import PLAIN, Selection
from vllm_worker.decoding.structured_output_limits import Limits
from vllm_worker.engine import asgi_client, lora, warmup
from vllm_worker.engine.beam_search import Beams, requested_selection
from vllm_worker.engine.log_config import EngineLog
from vllm_worker.engine.media_connector import guard_media
from vllm_worker.engine.outputs import deltas, translated, translated_in_mid_answer
from vllm_worker.engine.patches import (
    non_finite_json,
    processes,
    request_state,
    request_validation,
    structured_outputs,
)
from vllm_worker.engine.patches.request_state import requested_pace
from vllm_worker.engine.protocol import Delta, VLLMRequest
from vllm_worker.engine.sampling_params import named, sampling_params
from vllm_worker.engine.startup_errors import start_failure
from vllm_worker.errors import (
    BadRequest,
    ConfigurationError,
    EngineDead,
    JobError,
    VLLMError,
)
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.observability.timeline import timeline
from vllm_worker.streaming.flow_control import Pace

_CONTEXT = UsageContext.OPENAI_API_SERVER


class VLLMEngine:
    """Satisfies `interface.Engine`. Build it before the event loop, start it inside."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        limits: Limits | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Loads the model, which takes its time; `arguments` are those of `vllm serve`, `limits`
        those of what an output has to follow. `meanwhile` is called in a thread.

        Raises ConfigurationError where vLLM finds that values contradict each other or the model,
        StartFailure where the model is not to be had or the engine does not start.
        """
        self._arguments = arguments
        self._log = EngineLog(arguments)
        guard_media()
        connectors = arguments.kv_transfer_config, arguments.ec_transfer_config
        request_state.install(has_connector=any(connectors))
        request_validation.install()
        processes.install()
        non_finite_json.install()
        structured_outputs.install(limits or Limits())
        # Nobody outside can reach the application, so it asks for no key, not even VLLM_API_KEY.
        arguments.api_key = [""]
        try:
            # The context decides some of vLLM's defaults: those of `vllm serve` are wanted.
            engine_args = AsyncEngineArgs.from_cli_args(arguments)
            propagate_flash_late_interaction(arguments, engine_args)
            if not engine_args.numa_bind:  # which starts processes by a command of its own
                processes.let_core_fork()
            config = engine_args.create_engine_config(_CONTEXT)
        except ValueError as error:
            raise ConfigurationError([_without_links(error)]) from None
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise start_failure("the model's configuration cannot be read", reason) from error
        lora.check(arguments.lora_modules or (), config.model_config.hf_config)
        timeline.end("configuration")
        try:
            with processes.meanwhile(meanwhile):
                self._llm = AsyncLLMEngine.from_vllm_config(
                    config,
                    usage_context=_CONTEXT,
                    enable_log_requests=arguments.enable_log_requests,
                    disable_log_stats=arguments.disable_log_stats,
                )
        except Exception as error:
            reason = self._log.first_error() or f"{type(error).__name__}: {error}"
            raise start_failure("the engine could not be built", reason) from error
        if (weights_s := self._log.weights_s()) is not None:
            timeline.note("engine", "weights", weights_s)
        self._app: Any = None
        self._generates = False
        self._given_up = False
        self._beams = Beams(self._llm)

    @property
    def dead(self) -> bool:
        return self._given_up or bool(self._llm.errored)

    @property
    def unfinished_requests(self) -> int:
        """How many requests the engine holds, waiting or running."""
        return int(self._llm.get_num_unfinished_requests())

    async def start(self) -> None:
        """Builds vLLM's application, and warms up what jobs use."""
        tasks = await self._llm.get_supported_tasks()
        self._generates = "generate" in tasks
        sent = await warmup.send_requests(self._llm) if self._generates else []
        self._app = await self._build_application(tasks)
        timeline.end("application")
        if self._generates:
            await self._warm_up(sent)
        # As `vllm serve` does when it is up: what lives now lives on, and need not be searched.
        freeze_gc_heap()

    async def _build_application(self, tasks: Any) -> Any:
        app = build_app(self._arguments, tasks, self._llm.model_config)
        try:
            await init_app_state(self._llm, app.state, self._arguments, tasks)
        except ValueError as error:
            raise lora.failure(error, app.state) or error from None
        # vLLM's handler for a dead engine stops its HTTP server through this; there is none here.
        app.state.server = SimpleNamespace(should_exit=False)
        # A route with a slash too many is unknown, not an empty answer that points elsewhere.
        app.router.redirect_slashes = False
        self._beams.replace_in(getattr(app.state, "openai_serving_chat", None))
        self._beams.replace_in(getattr(app.state, "openai_serving_completion", None))
        return app

    async def _warm_up(self, sent: list[Any]) -> None:
        """Raises EngineDead if nothing will ever be answered."""
        await warmup.answers(sent)
        await warmup.ask_application(
            self._app,
            self._app.state.openai_serving_models.base_model_paths[0].name,
            bool(self._arguments.enable_auto_tool_choice and self._arguments.tool_call_parser),
        )
        with suppress(Exception):
            job = NativeJob(prompt="Hello", sampling_params={"max_tokens": 1})
            async with aclosing(self.generate(job, "warm-up")) as answer:
                async for _ in answer:
                    pass
        if self.dead:
            raise EngineDead

    async def ping(self) -> None:
        await self._llm.engine_core.get_supported_tasks_async()

    def give_up(self) -> None:
        self._given_up = True
        self._llm.output_processor.propagate_error(EngineDeadError())

    async def call(self, request: VLLMRequest) -> asgi_client.Response:
        requested_selection.set(request.selection)
        # A parser reads what the model says token by token, as it was made to.
        parser = self._llm.vllm_config.structured_outputs_config.reasoning_parser
        requested_pace.set(None if parser else request.pace)
        response = await asgi_client.request(
            self._app, request.method, request.target, request.content, request.headers
        )
        response.translate = translated_in_mid_answer
        return response

    async def generate(
        self,
        job: NativeJob,
        request_id: str,
        selection: Selection = PLAIN,
        pace: Pace | None = None,
    ) -> AsyncGenerator[Delta]:
        requested_pace.set(pace)
        try:
            if not self._generates:  # vLLM would try, and answer with noise
                raise BadRequest("The model of this worker does not generate text.")
            params = sampling_params(job, selection)
            adapter = await self._adapter(job.model)
            prompt = await self._render(job)
            if selection.use_beam_search:
                beam_params = self._beams.params(params, prompt)
                generated = self._beams.search(
                    prompt, request_id, beam_params, selection, lora_request=adapter
                )
            else:
                generated = self._llm.generate(prompt, params, request_id, lora_request=adapter)
            async with aclosing(generated) as outputs:
                async for output in outputs:
                    for delta in deltas(output, pace):
                        yield delta
        except JobError:
            raise
        except Exception as error:
            raise named(translated(error)) from error

    def shutdown(self) -> None:
        self._llm.shutdown()
        self._log.close()

    async def _adapter(self, model: str | None) -> LoRARequest | None:
        """The adapter of this name; None for the model itself, by any of its names or by none.

        Raises VLLMError with status 404 for a name that is neither's.
        """
        models = self._app.state.openai_serving_models
        if adapter := models.lora_requests.get(model):
            return adapter
        if refusal := await models.registry.check_model(model):
            raise VLLMError(refusal.error.code, refusal.model_dump())
        return None

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
