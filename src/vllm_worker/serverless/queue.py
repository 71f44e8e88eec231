"""The queue that jobs come from: RunPod's, or a local endpoint."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

from vllm_worker.configuration.settings import Settings
from vllm_worker.errors import ConfigurationError
from vllm_worker.local_endpoint import process
from vllm_worker.observability.self_report import SelfReport
from vllm_worker.observability.timeline import step, timeline
from vllm_worker.serverless.reporting import Reporter

logger = logging.getLogger(__name__)

CloseQueue = Callable[[], None]
"""Close the queue, so that it hands out no more jobs."""


class Queue(NamedTuple):
    """`url` is where a local endpoint answers, "" for RunPod's queue, and `has_ended` tells whether
    its process is gone. It is told how the worker is while `reporting`.
    """

    close: CloseQueue
    url: str = ""
    has_ended: Callable[[], bool] = lambda: False
    reporting: Callable[[], AbstractContextManager[None]] = nullcontext


@contextmanager
def queue(settings: Settings, report: Callable[[], SelfReport]) -> Iterator[Queue]:
    """RunPod's queue; where the platform's environment is missing, a local endpoint is started.

    `report` is made for a local endpoint alone. Raises ConfigurationError when the endpoint cannot
    listen where it should.
    """
    if settings.door == "queue":
        yield Queue(lambda: None)  # the platform knows when it ends a worker
        return
    try:
        with step("local endpoint started"):
            endpoint = process.start(
                *settings.address,
                endpoint_id=settings.local_endpoint_id,
                keys=settings.api_keys,
                keys_file=settings.api_keys_file,
            )
    except process.EndpointStartError as error:
        raise ConfigurationError([str(error)]) from None
    os.environ.update(endpoint.environment)
    reporter = Reporter(endpoint.url, endpoint.environment["RUNPOD_AI_API_KEY"], report())
    timeline.end("local endpoint")
    logger.info("serving on %s once the engine is ready; jobs wait until then", endpoint.url)
    try:
        with reporter.during_start():
            reporter.post()
            yield Queue(
                endpoint.close,
                endpoint.url,
                lambda: endpoint.process.poll() is not None,
                reporter.each_second,
            )
    finally:
        endpoint.stop()
