"""The queue that jobs come from: RunPod's, or a local endpoint."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from vllm_worker.configuration.settings import Settings
from vllm_worker.errors import ConfigurationError
from vllm_worker.local_endpoint import process
from vllm_worker.observability.timeline import step, timeline

logger = logging.getLogger(__name__)

CloseQueue = Callable[[], None]
"""Close the queue, so that it hands out no more jobs."""


class Queue(NamedTuple):
    """`url` is where a local endpoint answers, "" for RunPod's queue, and `has_ended` tells whether
    its process is gone.
    """

    close: CloseQueue
    url: str = ""
    has_ended: Callable[[], bool] = lambda: False


@contextmanager
def queue(settings: Settings) -> Iterator[Queue]:
    """RunPod's queue; where the platform's environment is missing, a local endpoint is started.

    Raises ConfigurationError when the endpoint cannot listen where it should.
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
    timeline.end("local endpoint")
    logger.info("serving on %s once the engine is ready; jobs wait until then", endpoint.url)
    try:
        yield Queue(endpoint.close, endpoint.url, lambda: endpoint.process.poll() is not None)
    finally:
        endpoint.stop()
