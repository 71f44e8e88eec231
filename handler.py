"""The RunPod entry point: settings → engine → worker → the SDK's loop.

On RunPod the platform's environment leads to its queue. Without it a local endpoint is started, and
everything else is the same. Importing this module has no effect, which the engine's processes need.
"""

import logging
import os
import signal
import sys

from vllm_worker.configuration import load_configuration
from vllm_worker.errors import ConfigurationError, StartFailure
from vllm_worker.metrics import serving_metrics
from vllm_worker.serverless import queue, run
from vllm_worker.startup import ctrl_c_kept_from_children, log_to_stderr, step
from vllm_worker.worker import Worker

logger = logging.getLogger("vllm_worker.handler")


def main() -> None:
    configuration = load_configuration(os.environ)
    settings = configuration.settings
    for note in configuration.notes:
        logger.warning("%s", note)
    for name, value in configuration.exports.items():
        os.environ.setdefault(name, value)
    cache = configuration.compile_cache
    with serving_metrics(settings) as metrics, queue(settings) as close_queue:
        if cache:
            cache.load()
        with step("vLLM imported"):
            from vllm_worker.engine import VLLMEngine
            from vllm_worker.engine_args import parse_engine_args
        arguments = parse_engine_args(configuration)
        built = f"engine built for {settings.served_model_names[0]}"
        # At Ctrl-C the engine must go on: it still has jobs to finish.
        with step(built), ctrl_c_kept_from_children():
            engine = VLLMEngine(arguments, settings.constraint_limits)
        if cache:
            cache.save_soon()
        try:
            run(Worker(settings, engine, metrics), close_queue)
        finally:
            engine.shutdown()


if __name__ == "__main__":
    log_to_stderr()
    # Until the SDK takes the signals over: leave through the context managers above.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        main()
    except ConfigurationError as error:
        for mistake in error.mistakes:
            logger.error("%s", mistake)
        sys.exit(2)
    except StartFailure as error:
        logger.error("%s", error)
        sys.exit(1)
