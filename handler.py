"""The RunPod entry point: settings → engine → worker → the SDK's loop.

On RunPod the platform's environment leads to its queue. Without it a local endpoint is started, and
everything else is the same. The engine's processes import this module, which starts nothing.
"""

import logging
import os
import sys
from collections.abc import Callable

from vllm_worker.configuration import Configuration, load_configuration
from vllm_worker.engine.protocol import Engine
from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.observability.metrics import serving_metrics
from vllm_worker.observability.stderr_log import log_to_stderr
from vllm_worker.observability.timeline import step, timeline
from vllm_worker.serverless.fitness import fitness_checks
from vllm_worker.serverless.queue import queue
from vllm_worker.serverless.run import check_mode, import_sdk, run
from vllm_worker.startup.compile_cache import CompileCache
from vllm_worker.startup.gc import collect_garbage_rarely, no_garbage_collection
from vllm_worker.startup.model_download import downloading
from vllm_worker.startup.signals import ctrl_c_kept_from_children, leave_at_signals
from vllm_worker.startup.weights_prefetch import prefetch_weights
from vllm_worker.worker import Worker

logger = logging.getLogger("vllm_worker.handler")


def main() -> None:
    timeline.end("Python")
    check_mode(sys.argv, os.environ)
    configuration = load_configuration(os.environ)
    settings = configuration.settings
    for note in configuration.notes:
        logger.warning("%s", note)
    configuration.export(os.environ)
    cache = configuration.compile_cache and CompileCache(configuration.compile_cache)
    timeline.end("configuration")
    with (
        serving_metrics(settings.host, settings.metrics_port) as metrics,
        queue(settings) as close_queue,
        fitness_checks(settings.on_runpod) as require_fitness,
        downloading(configuration) as downloaded,
    ):
        prefetch_weights(configuration)
        if cache:
            cache.load()
        engine = build_engine(downloaded, require_fitness)
        timeline.end("engine")
        if cache:
            cache.save_soon()
        try:
            run(Worker(settings, engine, metrics), close_queue)
        finally:
            engine.shutdown()


def build_engine(
    downloaded: Callable[[], Configuration], require_fitness: Callable[[], None]
) -> Engine:
    """Raises StartFailure, also for a vLLM that lacks what the engine is made of."""
    try:
        with step("vLLM imported"), no_garbage_collection():
            from vllm_worker.engine.args import parse_engine_args
            from vllm_worker.engine.vllm_engine import VLLMEngine
    except ImportError as error:
        from vllm_worker.engine.patches.seams import unsupported

        raise unsupported(str(error)) from error
    timeline.end("imports")
    require_fitness()
    configuration = downloaded()
    settings = configuration.settings
    arguments = parse_engine_args(configuration)
    limits, flow_control = settings.structured_output_limits, settings.flow_control
    allow_urls = settings.allow_media_urls
    # At Ctrl-C the engine must go on: it still has jobs to finish.
    with step(f"engine built for {settings.served_model_names[0]}"), ctrl_c_kept_from_children():
        return VLLMEngine(arguments, limits, import_sdk, flow_control, allow_urls)


if __name__ == "__mp_main__":  # a process of the engine that was not forked: it imports vLLM next
    collect_garbage_rarely()
if __name__ == "__main__":
    log_to_stderr()
    leave_at_signals()
    try:
        main()
    except ConfigurationError as error:
        for problem in error.problems:
            logger.error("%s", problem)
        sys.exit(2)
    except StartFailure as error:
        logger.error("%s", error)
        sys.exit(1)
