"""Prometheus metrics on METRICS_PORT: vLLM's own, and the worker's about its jobs.

No label holds anything that a client wrote. The libraries are not imported at the top: without
METRICS_PORT they are not needed.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vllm_worker.errors import ConfigurationError
from vllm_worker.observability.job_log import JobRecord
from vllm_worker.web.listener import CannotListenError, listen, url_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = logging.getLogger(__name__)

_LAG_EVERY_S = 0.25
_CLOSE_S = 2.0
"""Seconds that a scrape may delay the end of the process."""

# In seconds. An embedding takes milliseconds, a long answer minutes.
_JOB_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600, 1800)
_FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
_LAG_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counts nothing, for where nobody asks for metrics."""

    def watch(self, jobs: Sized) -> None:
        """To be called in the event loop that answers jobs; `jobs` are those in flight."""

    def count(self, record: JobRecord) -> None:
        """To be called when the job has ended."""


class PrometheusMetrics(Metrics):
    """Counts in a registry of prometheus_client."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def metric(kind: Any, name: str, meaning: str, *labels: str, **more: Any) -> Any:
            return kind(f"vllm_worker_{name}", meaning, labels, registry=registry, **more)

        self._jobs = metric(
            Counter, "jobs_total", "finished jobs", "kind", "model", "outcome", "code", "key"
        )
        self._input = metric(
            Counter, "input_tokens_total", "prompt tokens of finished jobs", "kind", "model"
        )
        self._output = metric(
            Counter, "output_tokens_total", "tokens generated for finished jobs", "kind", "model"
        )
        self._chunks = metric(
            Counter, "chunks_total", "chunks handed to the SDK for posting", "kind"
        )
        self._seconds = metric(
            Histogram,
            "job_duration_seconds",
            "time from the job's start until its result is posted",
            "kind",
            "outcome",
            buckets=_JOB_BUCKETS,
        )
        self._first_token = metric(
            Histogram,
            "job_first_token_seconds",
            "time from the job's start until the engine has its first token",
            "kind",
            buckets=_FIRST_TOKEN_BUCKETS,
        )
        self._in_flight = metric(Gauge, "jobs_in_flight", "jobs that have not finished")
        self._lag = metric(
            Histogram,
            "event_loop_lag_seconds",
            "how late the event loop wakes a task, measured four times a second",
            buckets=_LAG_BUCKETS,
        )
        self._measuring: asyncio.Task[None] | None = None

    def watch(self, jobs: Sized) -> None:
        self._in_flight.set_function(lambda: len(jobs))
        self._measuring = asyncio.create_task(self._measure_lag())

    def count(self, record: JobRecord) -> None:
        kind, model, code = record.kind, record.model, str(record.code or "")
        self._jobs.labels(kind, model, record.outcome, code, record.key).inc()
        self._input.labels(kind, model).inc(record.input_tokens)
        self._output.labels(kind, model).inc(record.output_tokens)
        self._chunks.labels(kind).inc(record.chunks)
        self._seconds.labels(kind, record.outcome).observe(record.seconds)
        if record.first_token is not None:
            self._first_token.labels(kind).observe(record.first_token)

    async def _measure_lag(self) -> None:
        while True:
            due = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._lag.observe(max(0.0, time.monotonic() - due))


@contextmanager
def serving_metrics(
    host: str,
    port: int | None,
    count_always: bool = False,
    registry: "CollectorRegistry | None" = None,
) -> Iterator[Metrics]:
    """Serves `/metrics` on `port` from a thread in the block; None serves nothing, and counts
    nothing unless `count_always`.

    `registry` is prometheus_client's own if not given, which vLLM counts in. Raises
    ConfigurationError when the port cannot be listened on.
    """
    if port is None and not count_always:
        yield Metrics()
        return
    import uvicorn
    from prometheus_client import REGISTRY

    registry = registry or REGISTRY
    if port is None:
        yield PrometheusMetrics(registry)
        return
    config = uvicorn.Config(
        _application(registry),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with _listen(host, port) as listener:
        thread = threading.Thread(
            target=server.run, args=([listener],), daemon=True, name="metrics"
        )
        thread.start()
        try:
            yield PrometheusMetrics(registry)
        finally:
            server.should_exit = True
            thread.join(_CLOSE_S)


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = listen(host, port)
    except CannotListenError as error:
        line = f"METRICS_PORT={port}: cannot be listened on at HOST={host}: {error}."
        raise ConfigurationError([line]) from None
    logger.info("metrics on %s/metrics", url_of(host, listener))
    return listener


def _application(registry: "CollectorRegistry") -> Callable[..., Awaitable[None]]:
    """prometheus_client's application, which would answer on any path."""
    from prometheus_client import make_asgi_app
    from starlette.responses import PlainTextResponse

    shown, nothing = make_asgi_app(registry), PlainTextResponse("only GET /metrics\n", 404)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        is_known = scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD")
        await (shown if is_known else nothing)(scope, receive, send)

    return application
