"""The engine: vLLM's AsyncLLM and, over it, vLLM's own HTTP application."""

import argparse
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.engine.async_llm_engine import AsyncLLMEngine
from vllm.entrypoints.launchers.cli_args import propagate_flash_late_interaction
from vllm.lora.request import LoRARequest
from vllm.usage.usage_lib import UsageContext
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.exceptions import EngineDeadError

from vllm_worker.decoding.structured_output_limits import Limits
from vllm_worker.engine import application, asgi_client, lora, prompts, warmup
from vllm_worker.engine.beam_search import BeamSearcher
from vllm_worker.engine.log_config import EngineLog
from vllm_worker.engine.media_connector import guard_media
from vllm_worker.engine.outputs import deltas, translated, translated_in_mid_answer
from vllm_worker.engine.patches import beam_search, core_process, table
from vllm_worker.engine.patches.core_start import run_while_engine_starts
from vllm_worker.engine.protocol import Delta, RequestContext, VLLMRequest, current_request
from vllm_worker.engine.sampling_params import named, sampling_params
from vllm_worker.engine.startup_errors import start_failure
from vllm_worker.errors import BadRequest, ConfigurationError, EngineDead, JobError, VLLMError
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.observability.timeline import timeline

_CONTEXT = UsageContext.OPENAI_API_SERVER


class VLLMEngine:
    """Satisfies `protocol.Engine`. Build it before the event loop, start it inside."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        limits: Limits | None = None,
        while_starting: Callable[[], object] = lambda: None,
    ) -> None:
        """Load the model, which takes its time; `arguments` are those of `vllm serve`, `limits`
        those on structured outputs. `while_starting` is called in a thread.

        Raises ConfigurationError where vLLM finds that values contradict each other or the model,
        StartFailure where the model cannot be had or the engine does not start.
        """
        self._arguments = arguments
        self._log = EngineLog(arguments)
        guard_media()
        table.apply(arguments, limits or Limits())
        # Nobody outside can reach the application, so it asks for no key, not even VLLM_API_KEY.
        arguments.api_key = [""]
        config = _vllm_config(arguments)
        lora.check(arguments.lora_modules or (), config.model_config.hf_config)
        timeline.end("configuration")
        self._llm = self._build(config, while_starting)
        self._app: Any = None
        self._generates = False
        self._marked_dead = False
        self._beams = BeamSearcher(self._llm)

    def _build(self, config: VllmConfig, while_starting: Callable[[], object]) -> AsyncLLMEngine:
        try:
            with run_while_engine_starts(while_starting):
                llm = AsyncLLMEngine.from_vllm_config(
                    config,
                    usage_context=_CONTEXT,
                    enable_log_requests=self._arguments.enable_log_requests,
                    disable_log_stats=self._arguments.disable_log_stats,
                )
        except Exception as error:
            reason = self._log.first_error() or f"{type(error).__name__}: {error}"
            raise start_failure("the engine could not be built", reason) from error
        if (weights_s := self._log.weights_s()) is not None:
            timeline.note("engine", "weights", weights_s)
        return llm

    @property
    def dead(self) -> bool:
        return self._marked_dead or bool(self._llm.errored)

    @property
    def unfinished_requests(self) -> int:
        """How many requests the engine holds, waiting or running."""
        return int(self._llm.get_num_unfinished_requests())

    async def start(self) -> None:
        """Build vLLM's application, and warm up what jobs use.

        Raises EngineDead if nothing will ever be answered.
        """
        tasks = await self._llm.get_supported_tasks()
        self._generates = "generate" in tasks
        sent = await warmup.send_requests(self._llm) if self._generates else []
        self._app = await application.build(self._llm, self._arguments, tasks)
        beam_search.install(self._app.state, self._beams.in_application)
        timeline.end("application")
        if self._generates:
            await warmup.answers(sent)
            arguments, models = self._arguments, self._app.state.openai_serving_models
            tools = bool(arguments.enable_auto_tool_choice and arguments.tool_call_parser)
            await warmup.ask_application(self._app, models.base_model_paths[0].name, tools)
            await warmup.ask_native(self.generate)
            if self.dead:
                raise EngineDead
        # As `vllm serve` does when it is up: what lives now lives on, and need not be searched.
        freeze_gc_heap()

    async def ping(self) -> None:
        await self._llm.engine_core.get_supported_tasks_async()

    def mark_dead(self) -> None:
        self._marked_dead = True
        self._llm.output_processor.propagate_error(EngineDeadError())

    async def call(self, request: VLLMRequest, context: RequestContext) -> asgi_client.Response:
        if self._llm.vllm_config.structured_outputs_config.reasoning_parser:
            # A parser reads what the model says token by token, as it was made to.
            context = replace(context, flow=None)
        current_request.set(context)
        response = await asgi_client.request(
            self._app, request.method, request.target, request.content, request.headers
        )
        response.translate = translated_in_mid_answer
        return response

    async def generate(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Delta]:
        current_request.set(context)
        try:
            if not self._generates:  # vLLM would try, and answer with noise
                raise BadRequest("The model of this worker does not generate text.")
            async with aclosing(await self._generated(job, context)) as outputs:
                async for output in outputs:
                    for delta in deltas(output, context.flow):
                        yield delta
        except JobError:
            raise
        except Exception as error:
            raise named(translated(error)) from error

    async def _generated(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Any]:
        params = sampling_params(job, context.decoding)
        adapter = await self._adapter(job.model)
        prompt = await prompts.render(self._llm, self._app.state, job)
        if context.decoding.use_beam_search:
            beam_params = self._beams.params(params, prompt)
            return self._beams.search(
                prompt, context.request_id, beam_params, context.decoding, lora_request=adapter
            )
        generated: AsyncGenerator[Any] = self._llm.generate(
            prompt, params, context.request_id, lora_request=adapter
        )
        return generated

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


def _vllm_config(arguments: argparse.Namespace) -> VllmConfig:
    """vLLM's configuration of the engine, which it checks against the model."""
    try:
        # The context decides some of vLLM's defaults: those of `vllm serve` are wanted.
        engine_args = AsyncEngineArgs.from_cli_args(arguments)
        propagate_flash_late_interaction(arguments, engine_args)
        if not engine_args.numa_bind:  # which starts processes by a command of its own
            core_process.fork()
        return engine_args.create_engine_config(_CONTEXT)
    except ValueError as error:
        raise ConfigurationError([_without_links(error)]) from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise start_failure("the model's configuration cannot be read", reason) from error


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
