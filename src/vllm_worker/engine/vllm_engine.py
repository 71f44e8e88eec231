"""The engine: vLLM's AsyncLLM and, over it, vLLM's own HTTP application."""

import argparse
import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import ValidationError
from vllm import envs
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.lora.request import LoRARequest
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.exceptions import EngineDeadError

from vllm_worker.configuration.catalogue import vllm_version
from vllm_worker.decoding.structured_output_limits import Limits
from vllm_worker.engine import application, asgi_client, lora, warmup
from vllm_worker.engine.args import avoid_slow_bfloat16
from vllm_worker.engine.beam_search import BeamSearcher
from vllm_worker.engine.client import WorkerLLM
from vllm_worker.engine.log_config import EngineLog
from vllm_worker.engine.media_connector import guard_media
from vllm_worker.engine.native_jobs import named, render, sampling_params
from vllm_worker.engine.outputs import deltas, translated, translated_in_mid_answer
from vllm_worker.engine.patches import beam_search
from vllm_worker.engine.patches.apply import apply
from vllm_worker.engine.patches.core_process import (
    engine_killed_soon,
    run_when_forked,
    spawn_if_cuda_was_called,
    spawn_where_needed,
)
from vllm_worker.engine.patches.seams import find, seam, usable
from vllm_worker.engine.protocol import Delta, RequestContext, VLLMRequest, current_request
from vllm_worker.engine.startup_errors import start_failure
from vllm_worker.errors import BadRequest, ConfigurationError, EngineDead, JobError, VLLMError
from vllm_worker.jobs.inputs import NativeJob
from vllm_worker.observability.job_log import error_location
from vllm_worker.observability.timeline import timeline
from vllm_worker.streaming.flow_control import FlowGrade

logger = logging.getLogger(__name__)

_SERVER_ERROR = 500
_CONTEXT = UsageContext.OPENAI_API_SERVER


class VLLMEngine:
    """Satisfies `protocol.Engine`. Build it before the event loop, start it inside."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        limits: Limits | None = None,
        while_starting: Callable[[], object] = lambda: None,
        flow_control: str = "auto",
        allow_media_urls: bool = True,
    ) -> None:
        """Load the model, which takes its time; `arguments` are those of `vllm serve`, `limits`
        those on structured outputs, `flow_control` is FLOW_CONTROL, `allow_media_urls`
        ALLOW_MEDIA_URLS. `while_starting` is called in a thread.

        Raises ConfigurationError where vLLM finds that values contradict each other or the model,
        StartFailure where the model cannot be had or the engine does not start.
        """
        self._arguments = arguments
        self._log = EngineLog(arguments)
        guard_media(allow_media_urls)
        grade = apply(flow_control, may_fork=not spawn_where_needed(arguments))
        avoid_slow_bfloat16(arguments)
        config = _vllm_config(arguments)
        spawn_if_cuda_was_called()
        lora.check(arguments.lora_modules or (), config.model_config.hf_config)
        timeline.end("configuration")
        self._llm = self._build(config, while_starting)
        self._llm.limits = limits or Limits()
        self._llm.flow_grade = grade
        self._llm.has_connector = any((config.kv_transfer_config, config.ec_transfer_config))
        self._app: Any = None
        self._generates = False
        self._passes_text_on = application.passes_text_on(arguments)
        self._marked_dead = False
        self._beams = BeamSearcher(self._llm)

    def _build(self, config: VllmConfig, while_starting: Callable[[], object]) -> WorkerLLM:
        # Several cores are forked one after the other.
        forks_once = config.parallel_config.data_parallel_size == 1
        meanwhile = run_when_forked(while_starting) if forks_once else nullcontext()
        try:
            with meanwhile:
                llm: WorkerLLM = WorkerLLM.from_vllm_config(
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
    def capacity(self) -> int:
        config = self._llm.vllm_config
        cache, most = config.cache_config, int(config.scheduler_config.max_num_seqs)
        fitting = getattr(cache, "kv_cache_max_concurrency", None)
        if fitting is None and cache.num_gpu_blocks:  # an older vLLM
            fitting = cache.num_gpu_blocks * cache.block_size / config.model_config.max_model_len
        whole = min(most, int(fitting)) if fitting else most  # without a cache, all of them fit
        return max(whole, 1) * int(config.parallel_config.data_parallel_size)

    @property
    def context_length(self) -> int:
        return int(self._llm.vllm_config.model_config.max_model_len)

    @property
    def unfinished_requests(self) -> int:
        """Number of requests in the engine, waiting or running."""
        return len(self._llm.output_processor.request_states)

    async def start(self) -> None:
        """Build vLLM's application, and warm up what jobs use.

        Raises StartFailure where a job of some kind would fail, or what must be refused is not.
        """
        tasks = await self._llm.get_supported_tasks()
        self._generates = "generate" in tasks
        sent = await warmup.send_requests(self._llm) if self._generates else []
        self._app = await application.build(self._llm, self._arguments, tasks)
        if usable("beam_search"):
            beam_search.install(self._app.state, self._beams.in_application)
        timeline.end("application")
        try:
            await warmup.answers(sent)
            await self._warm_up(tasks)
        except Exception as error:
            raise EngineDead if self.dead else error from error
        if not self._arguments.disable_log_stats:
            self._stats = asyncio.create_task(self._log_stats())
        # As `vllm serve` does when it is up: what lives now lives on, and need not be searched.
        if freeze := find("freeze_gc_heap"):
            freeze()

    async def _log_stats(self) -> None:
        """vLLM's lines of throughput and use of the KV cache, which `vllm serve` asks for."""
        while True:
            await asyncio.sleep(envs.VLLM_LOG_STATS_INTERVAL)
            await self._llm.do_log_stats()

    async def _warm_up(self, tasks: Any) -> None:
        try:
            await self.ping()
        except Exception as error:
            logger.warning(
                "the engine cannot be pinged, so a hang goes unnoticed: %s", error_location(error)
            )
        await warmup.media()
        model, *_ = self._arguments.served_model_name
        if "embed" in tasks:
            await warmup.embedding(self, model)
        if not self._generates or not warmup.takes_text(self._llm.model_config):
            return
        await warmup.native(self)
        await warmup.limits(self)
        await self._warm_up_streams()
        await self._llm.offer_guidance(partial(warmup.guidance, self))
        tools = bool(self._arguments.enable_auto_tool_choice and self._arguments.tool_call_parser)
        if reason := await warmup.chats(self, model, tools):
            logger.info("the model does not answer chats: %s", reason)
        if getattr(self._app.state, "openai_serving_completion", None):
            await warmup.beam_search(self, model)
            if not self._beams.asked_by_application:
                self._beams.asked_by_application = False
                logger.warning("vLLM %s: %s", vllm_version(), seam("beam_search").lost)

    async def _warm_up_streams(self) -> None:
        """Take the next grade of flow control where one turns out to have no effect."""
        grades = list(FlowGrade)
        for grade in grades[grades.index(self._llm.flow_grade) :]:
            self._llm.flow_grade = grade
            if await warmup.stream(self) or grade is FlowGrade.OFF:
                return
            note = "vLLM %s: flow control has no effect in grade %s"
            logger.warning(note, vllm_version(), grade)

    async def ping(self) -> None:
        await self._llm.is_sleeping()  # asks the core, whatever it answers

    def mark_dead(self) -> None:
        self._marked_dead = True
        if usable("OutputProcessor.propagate_error"):
            self._llm.output_processor.propagate_error(EngineDeadError())

    async def call(self, request: VLLMRequest, context: RequestContext) -> asgi_client.Response:
        self._beams.check_application(context.decoding)
        if self._llm.vllm_config.structured_outputs_config.reasoning_parser:
            # A parser reads what the model says token by token, as it was made to.
            context = replace(context, flow=None, shortcut=None)
        elif not self._passes_text_on:
            context = replace(context, shortcut=None)
        current_request.set(context)
        response = await asgi_client.request(
            self._app, request.method, request.target, request.content, request.headers,
            context.shortcut.attach if context.shortcut else None,
        )  # fmt: skip
        response.translate = translated_in_mid_answer
        if response.status == _SERVER_ERROR and (error := application.stumbled(self._app, request)):
            await response.aclose()
            raise error
        return response

    async def generate(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Delta]:
        current_request.set(context)
        try:
            if not self._generates:  # vLLM would try, and answer with noise
                raise BadRequest("The model of this worker does not generate text.")
            logprobs = job.sampling_params.get("logprobs") is not None
            async with aclosing(await self._generated(job, context)) as outputs:
                async for output in outputs:
                    for delta in deltas(output, context.flow, logprobs, job.stream):
                        yield delta
        except JobError:
            raise
        except Exception as error:
            raise named(translated(error)) from error

    async def _generated(self, job: NativeJob, context: RequestContext) -> AsyncGenerator[Any]:
        params = sampling_params(job, context.decoding)
        adapter = await self._adapter(job.model)
        prompt = await render(self._llm, self._app.state, job)
        if context.decoding.use_beam_search:
            return self._beams.search(
                prompt,
                context.request_id,
                self._beams.params(params, prompt),
                context.decoding,
                params.skip_special_tokens,
                lora_request=adapter,
            )
        generated: AsyncGenerator[Any] = self._llm.generate(
            prompt, params, context.request_id, lora_request=adapter
        )
        return generated

    def shutdown(self) -> None:
        """End vLLM's processes; a connector may have something to write before."""
        with nullcontext() if self._llm.has_connector else engine_killed_soon():
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
        if propagate := find("propagate_flash_late_interaction"):
            propagate(arguments, engine_args)
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
