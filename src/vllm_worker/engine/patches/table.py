"""Every name of vLLM that the worker uses: where each release has it, and what is lost without it.

vLLM promises little about names below its command line, and moves some with each release. This
table is the only place that knows of more than one release. The few that are patched have
`replaced=True`; docs/upstream.md lists them, and what would make each patch unnecessary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vllm_worker.probes import Fields, Mentions, Probe, Takes

OLDEST, NEWEST = "0.28", "0.33"
"""The releases of vLLM that `make test-vllm` tries."""


@dataclass(frozen=True)
class Seam:
    """One name, or a few that move together.

    `places` are `module:attribute`, the newest release's first. What has no `lost` is required:
    without it the worker does not start. `replaced` says that the worker puts something of its own
    there, and `upstream` which change to vLLM would make that superfluous.
    """

    name: str
    places: tuple[str, ...]
    use: str
    lost: str = ""
    probe: Probe | None = None
    replaced: bool = False
    upstream: str = ""

    @property
    def required(self) -> bool:
        return not self.lost


def _plain(*places: str, use: str = "") -> Iterator[Seam]:
    """Required names that have been in one place in every release, and need no probe."""
    for place in places:
        yield Seam(place.rpartition(":")[2], (place,), use)


_ENTRYPOINTS = "vllm.entrypoints"
_CLI_ARGS = (
    f"{_ENTRYPOINTS}.common.cli_args",
    f"{_ENTRYPOINTS}.launchers.cli_args",
    f"{_ENTRYPOINTS}.openai.cli_args",
)
_STATE = "vllm.v1.engine.output_processor:RequestState"
_GRADES = "chunks are gathered after vLLM's application: more CPU for each streamed token"

SEAMS: Sequence[Seam] = (
    # What `vllm serve` is made of
    Seam(
        "make_arg_parser",
        tuple(f"{module}:make_arg_parser" for module in _CLI_ARGS),
        "the options of vllm serve",
        probe=Takes("parser"),
    ),
    Seam(
        "validate_parsed_serve_args",
        tuple(f"{module}:validate_parsed_serve_args" for module in _CLI_ARGS),
        "options that contradict each other",
        probe=Takes("args"),
    ),
    Seam(
        "propagate_flash_late_interaction",
        tuple(f"{module}:propagate_flash_late_interaction" for module in _CLI_ARGS[:2]),
        "one option's way to the engine",
        lost="the option that it passes on has no effect",
        probe=Takes("args", "engine_args"),
    ),
    Seam(
        "build_app",
        (f"{_ENTRYPOINTS}.launchers.app:build_app", f"{_ENTRYPOINTS}.openai.api_server:build_app"),
        "vLLM's application",
        probe=Takes("args", "supported_tasks", "model_config"),
    ),
    Seam(
        "init_app_state",
        (
            f"{_ENTRYPOINTS}.launchers.api_server.app_state:init_app_state",
            f"{_ENTRYPOINTS}.openai.api_server:init_app_state",
        ),
        "vLLM's application",
        probe=Takes("engine_client", "state", "args", "supported_tasks"),
    ),
    Seam(
        "create_error_response",
        (f"{_ENTRYPOINTS}.serve:create_error_response",),
        "vLLM's error bodies",
        probe=Takes("message"),
    ),
    *_plain(
        "vllm.engine.arg_utils:AsyncEngineArgs",
        "vllm.usage.usage_lib:UsageContext",
        "vllm.utils.argparse_utils:FlexibleArgumentParser",
        "vllm.utils.import_utils:import_from_path",
        "vllm.model_executor.layers.quantization:QUANTIZATION_METHODS",
        "vllm.reasoning:ReasoningParserManager",
        "vllm.tool_parsers:ToolParserManager",
        use="the options of vllm serve",
    ),
    # The engine
    Seam(
        "AsyncLLM",
        ("vllm.v1.engine.async_llm:AsyncLLM",),
        "the engine",
        probe=Fields(
            "add_request",
            "generate",
            "encode",
            "abort",
            "is_sleeping",
            "errored",
            "from_vllm_config",
            "get_supported_tasks",
            "shutdown",
        ),
    ),
    Seam(
        "AsyncLLM.add_request",
        ("vllm.v1.engine.async_llm:AsyncLLM.add_request",),
        "limits on requests, token counts, flow control",
        probe=Takes("self", "request_id", "prompt", "params"),
    ),
    Seam(
        "AsyncLLM.from_vllm_config",
        ("vllm.v1.engine.async_llm:AsyncLLM.from_vllm_config",),
        "builds the worker's subclass",
        probe=Mentions("executor_class", owner="cls"),
    ),
    *_plain(
        "vllm.v1.engine.exceptions:EngineDeadError",
        "vllm.v1.engine.exceptions:EngineGenerateError",
        "vllm.exceptions:VLLMValidationError",
        "vllm.outputs:RequestOutput",
        "vllm.outputs:CompletionOutput",
        "vllm.sampling_params:SamplingParams",
        "vllm.sampling_params:RequestOutputKind",
        "vllm.sampling_params:StructuredOutputsParams",
        "vllm.lora.request:LoRARequest",
        "vllm.lora.utils:get_adapter_absolute_path",
        "vllm.config:VllmConfig",
        "vllm.platforms:current_platform",
        use="the engine",
    ),
    Seam(
        "InputStreamError",
        ("vllm.v1.engine.async_llm:InputStreamError",),
        "ends a request that the engine has given up",
        lost="the other choices of such a request run on",
    ),
    Seam(
        "OutputProcessor.propagate_error",
        ("vllm.v1.engine.output_processor:OutputProcessor.propagate_error",),
        "fails the jobs of an engine that hangs",
        lost="the jobs of an engine that hangs are cut off instead of answered",
        probe=Takes("self", "e"),
    ),
    Seam(
        "freeze_gc_heap",
        ("vllm.utils.gc_utils:freeze_gc_heap",),
        "rare garbage collection",
        lost="longer pauses for garbage collection",
        probe=Takes(),
    ),
    # Prompts of native jobs
    Seam(
        "render_cmpl_async",
        ("vllm.renderers.base:BaseRenderer.render_cmpl_async",),
        "prompts of native jobs",
        probe=Takes("self", "prompts", "tok_params"),
    ),
    Seam(
        "render_chat_async",
        ("vllm.renderers.base:BaseRenderer.render_chat_async",),
        "chats of native jobs",
        probe=Takes("self", "conversations", "chat_params", "tok_params"),
    ),
    *_plain(
        "vllm.renderers:ChatParams",
        "vllm.renderers:TokenizeParams",
        "vllm.renderers.inputs.preprocess:parse_model_prompt",
        use="prompts of native jobs",
    ),
    # Media
    Seam(
        "MEDIA_CONNECTOR_REGISTRY",
        ("vllm.multimodal.media.connector:MEDIA_CONNECTOR_REGISTRY",),
        "the guard of media URLs",
        probe=Fields("register", "load"),
    ),
    Seam(
        "MediaConnector",
        ("vllm.multimodal.media.connector:MediaConnector",),
        "the guard of media URLs",
        probe=Fields("load_from_url", "load_from_url_async"),
    ),
    # Beam search
    *_plain(
        "vllm.sampling_params:BeamSearchParams",
        "vllm.entrypoints.generate.beam_search.utils:BeamSearchSequence",
        "vllm.utils:random_uuid",
        use="beam search",
    ),
    Seam(
        "beam_search",
        (f"{_ENTRYPOINTS}.generate.beam_search.online:BeamSearchOnlineMixin.beam_search",),
        "best_of and early_stopping of a beam search on OpenAI's routes",
        lost="best_of and early_stopping are refused with beam search on OpenAI's routes",
        probe=Takes("self", "prompt", "request_id", "params"),
        replaced=True,
        upstream="fields for the width and for early stopping in BeamSearchParams",
    ),
    # Streams
    Seam(
        "RequestState",
        (_STATE,),
        "flow control where it costs least, and exact token counts",
        lost=_GRADES,
        probe=Fields("from_new_request", "make_request_output"),
        replaced=True,
        upstream="a hook in OutputProcessor that decides when a delta is put out",
    ),
    Seam(
        "RequestState.make_request_output",
        (f"{_STATE}.make_request_output",),
        "flow control",
        lost=_GRADES,
        probe=Takes("self", "new_token_ids", "pooling_output", "finish_reason", "stop_reason"),
    ),
    Seam(
        "RequestState.from_new_request",
        ("vllm.v1.engine.output_processor:OutputProcessor.add_request",),
        "flow control: how the states are made",
        lost=_GRADES,
        probe=Mentions("RequestState", "from_new_request", keyword="request"),
    ),
    Seam(
        "RequestOutputCollector",
        ("vllm.v1.engine.output_processor:RequestOutputCollector",),
        "flow control in the second grade, and requests that the engine has given up",
        lost="neither flow control in its second grade nor a reason for a request that the engine "
        "has given up",
        probe=Fields("put", "get", "get_nowait"),
    ),
    # Structured outputs
    Seam(
        "StructuredOutputManager.grammar_init",
        ("vllm.v1.structured_output:StructuredOutputManager.grammar_init",),
        "a backend of structured outputs for each request",
        lost="a schema that xgrammar would not follow is refused, and not given to guidance",
        probe=Mentions("backend", "_backend", "structured_output_request"),
        replaced=True,
        upstream="a backend for each request instead of one for all in StructuredOutputManager",
    ),
    Seam(
        "validate_guidance_grammar",
        ("vllm.v1.structured_output.backend_guidance:validate_guidance_grammar",),
        "whether guidance takes a schema",
        lost="a schema that xgrammar would not follow is refused, and not given to guidance",
        probe=Takes("sampling_params"),
    ),
    # Processes and the log
    Seam(
        "run_engine_core",
        ("vllm.v1.engine.core:EngineCoreProc.run_engine_core",),
        "the end of the core's process",
        lost="a traceback on standard error when the core ends",
        replaced=True,
        upstream="sys.exit instead of a raise at the end of run_engine_core",
    ),
    Seam(
        "get_mp_context",
        ("vllm.v1.engine.utils:get_mp_context",),
        "the start of the core's process without a GPU",
        lost="some seconds of a start without a GPU",
        probe=Takes(),
        replaced=True,
        upstream="VLLM_WORKER_MULTIPROC_METHOD for the core and for its workers apart",
    ),
    Seam(
        "DEFAULT_LOGGING_CONFIG",
        ("vllm.logger:DEFAULT_LOGGING_CONFIG",),
        "errors of vLLM in one line that quotes no client",
    ),
)
