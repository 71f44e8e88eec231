"""The RunPod entry point: settings → engine → worker → the SDK's loop.

On RunPod the platform's environment leads to its queue, or to an HTTP server. Without it a local
endpoint is started, and everything else is the same. The engine's processes import this module,
which starts nothing.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vllm_worker.configuration import Configuration, load_configuration
from vllm_worker.configuration.show import effective
from vllm_worker.engine.protocol import Engine
from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.gpu_check.machine import versions
from vllm_worker.observability.metrics import serving_metrics
from vllm_worker.observability.self_report import SelfReport
from vllm_worker.observability.stderr_log import log_to_stderr, silence_libraries
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
        serving_metrics(settings.host, settings.metrics_port, settings.door != "queue") as metrics,
        open_door(configuration) as serve,
        fitness_checks(settings.door == "queue") as require_fitness,
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
            serve(Worker(settings, engine, metrics))
        finally:
            engine.shutdown()


@contextmanager
def open_door(configuration: Configuration) -> Iterator[Callable[[Worker], None]]:
    """Where requests come in; what is yielded answers them until the process has to end."""
    settings = configuration.settings

    def report() -> SelfReport:
        return SelfReport(json.loads(effective(configuration, as_json=True)), versions())

    if settings.door != "http":
        with queue(settings, report) as opened:
            yield lambda worker: run(worker, opened)
        return
    from vllm_worker.http_server.app import create_app
    from vllm_worker.http_server.server import listening, read_keys, serve, telling_that_it_starts

    keys = read_keys(settings)
    with (
        listening(settings) as listeners,
        telling_that_it_starts(listeners, settings.health_check_path) as taken_over,
    ):
        yield lambda worker: serve(
            worker, create_app(worker, keys, report()), listeners, taken_over
        )


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
        meanwhile = import_sdk if settings.door != "http" else (lambda: None)
        return VLLMEngine(arguments, limits, meanwhile, flow_control, allow_urls)


if __name__ == "__mp_main__":  # a process of the engine that was not forked: it imports vLLM next
    collect_garbage_rarely()
    silence_libraries(os.environ)
if __name__ == "__main__":
    log_to_stderr()
    silence_libraries(os.environ)
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
