"""The number of jobs that the SDK may hold."""

import logging

from vllm_worker.observability.timeline import timeline
from vllm_worker.serverless.lifecycle import Lifecycle

logger = logging.getLogger(__name__)


class ConcurrencyModifier:
    """None until the worker is ready, then always the same number.

    The SDK asks inside its event loop before it takes the first job. A number that changed later
    would wait for zero jobs.
    """

    def __init__(self, lifecycle: Lifecycle, url: str = "") -> None:
        self._lifecycle = lifecycle
        self._url = url
        self._takes_jobs = False

    def __call__(self, current: int) -> int:
        self._lifecycle.ensure_started()  # where the SDK's own job loop runs, nobody else does
        worker = self._lifecycle.worker
        if not worker.ready:
            return 0
        if not self._takes_jobs:
            self._takes_jobs = True
            timeline.end("first job-take")
            timeline.log()
            logger.info("%s", worker.summary(self._url))
        return worker.max_concurrency
