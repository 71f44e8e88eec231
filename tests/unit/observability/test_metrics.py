"""What Prometheus is shown of jobs, and where."""

import asyncio
import multiprocessing
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.support.fake_engine import FakeEngine, words
from vllm_worker.configuration.settings import load_settings
from vllm_worker.errors import ConfigurationError
from vllm_worker.observability.job_log import JobLog, JobRecord
from vllm_worker.observability.metrics import Metrics, PrometheusMetrics, serving_metrics
from vllm_worker.worker import Worker

ROOT = Path(__file__).parents[3]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Values by what the labels say, in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"vllm_worker_{name}"
    }


def record(kind: str, seconds: float = 0.0) -> JobRecord:
    return JobRecord("job-1", "demo", kind, begun=time.monotonic() - seconds)


def test_all_of_a_job_is_counted(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry)
    for _ in range(2):
        job = record("native", seconds=3)
        job.count_prompt(5, "sql")
        job.count_output(2)
        job.count_output(4)
        job.first_token = 0.2
        job.outcome, job.chunks = "completed", 3
        metrics.count(job)
    assert samples(registry, "jobs_total") == {("", "", "native", "sql", "completed"): 2}
    assert samples(registry, "input_tokens_total") == {("native", "sql"): 10}
    assert samples(registry, "output_tokens_total") == {("native", "sql"): 12}
    assert samples(registry, "chunks_total") == {("native",): 6}
    durations = samples(registry, "job_duration_seconds_bucket")
    assert durations[("native", "2.5", "completed")] == 0
    assert durations[("native", "5.0", "completed")] == 2
    first_tokens = samples(registry, "job_first_token_seconds_bucket")
    assert first_tokens[("native", "0.1")] == 0
    assert first_tokens[("native", "0.25")] == 2


def test_a_job_without_a_token_has_no_time_to_one(registry: CollectorRegistry) -> None:
    PrometheusMetrics(registry).count(record("/tokenize"))
    assert samples(registry, "job_duration_seconds_count") == {("/tokenize", "cancelled"): 1}
    assert samples(registry, "job_first_token_seconds_count") == {}


def test_a_job_that_is_cancelled_after_its_failure_counts_as_cancelled(
    registry: CollectorRegistry,
) -> None:
    job = record("native")
    job.fail(500)
    JobLog().end(job, cancelled=True)
    PrometheusMetrics(registry).count(job)
    assert samples(registry, "jobs_total") == {("", "", "native", "demo", "cancelled"): 1}


async def test_jobs_are_counted_by_kind_and_outcome_without_what_clients_wrote(
    registry: CollectorRegistry,
) -> None:
    engine = FakeEngine(words("a", "b"), pause=0.01)
    worker = Worker(load_settings({}), engine, PrometheusMetrics(registry))
    await worker.start()

    async def answer(job_input: object) -> None:
        async for _ in worker.handle({"id": "job-1", "input": job_input}):
            pass

    streamed = {"prompt": "x", "stream": True, "max_batch_size": 1}
    for job_input in (streamed, {"prompt": "secret"}, {"prompt": 5}, {"route": "/v1/secret"}):
        await asyncio.create_task(answer(job_input))
    cancelled = asyncio.create_task(answer({"prompt": "secret"}))
    await asyncio.sleep(0.005)
    assert samples(registry, "jobs_in_flight") == {(): 1}
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    await asyncio.sleep(0)
    assert samples(registry, "jobs_in_flight") == {(): 0}
    assert samples(registry, "jobs_total") == {
        ("", "", "native", "demo", "completed"): 2,
        ("", "", "native", "demo", "cancelled"): 1,
        ("400", "", "unreadable", "demo", "failed"): 1,
        ("404", "", "no open route", "demo", "failed"): 1,
    }
    assert samples(registry, "chunks_total")[("native",)] == 3
    assert "secret" not in str(list(registry.collect()))


async def test_a_loop_that_is_held_up_shows(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_worker.observability.metrics._LAG_EVERY_S", 0.01)
    PrometheusMetrics(registry).watch([])
    await asyncio.sleep(0.03)
    assert samples(registry, "event_loop_lag_seconds_sum")[()] < 0.2
    time.sleep(0.3)
    await asyncio.sleep(0.03)
    assert samples(registry, "event_loop_lag_seconds_sum")[()] > 0.2


@pytest.fixture
def metrics_url(registry: CollectorRegistry, worker_log: pytest.LogCaptureFixture) -> Iterator[str]:
    with serving_metrics("127.0.0.1", 0, registry=registry):
        yield address(worker_log)


def address(worker_log: pytest.LogCaptureFixture) -> str:
    """Where the metrics are, without the path."""
    match = re.search(r"metrics on (\S+)/metrics", worker_log.text)
    assert match
    return match[1]


def test_only_metrics_are_served(metrics_url: str) -> None:
    with httpx.Client(base_url=metrics_url, trust_env=False) as client:
        answer = client.get("/metrics")
        families = {family.name for family in text_string_to_metric_families(answer.text)}
        assert "vllm_worker_jobs_in_flight" in families
        for path in ("/", "/metrics/", "/metrics/x", "/favicon.ico"):
            assert client.get(path).status_code == 404
        assert client.post("/metrics").status_code == 404


def test_nothing_listens_after_the_end_and_an_open_connection_does_not_delay_it(
    registry: CollectorRegistry, worker_log: pytest.LogCaptureFixture
) -> None:
    with serving_metrics("127.0.0.1", 0, registry=registry):
        port = int(address(worker_log).rpartition(":")[2])
        idle = socket.create_connection(("127.0.0.1", port))
        idle.sendall(b"GET /metrics HTTP/1.1\r\n")
        time.sleep(0.2)
        ending = time.monotonic()
    assert time.monotonic() - ending < 1.5
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_port(
    registry: CollectorRegistry, worker_log: pytest.LogCaptureFixture
) -> None:
    fork = multiprocessing.get_context("fork")
    with serving_metrics("127.0.0.1", 0, registry=registry):
        port = int(address(worker_log).rpartition(":")[2])
        child = fork.Process(target=time.sleep, args=(60,))
        child.start()
    try:
        # Not by listening there again: on a busy machine a client may have got that port meanwhile.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    finally:
        child.kill()
        child.join()


def test_a_port_that_is_taken_and_a_host_that_is_none_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError) as raised,
            serving_metrics("127.0.0.1", port),
        ):
            pass
    line = f"METRICS_PORT={port}: cannot be listened on at HOST=127.0.0.1: Address already in use"
    assert str(raised.value).startswith(line)
    with (
        pytest.raises(ConfigurationError, match=r"HOST=192\.0\.2\.1"),
        serving_metrics("192.0.2.1", 0),
    ):
        pass


def test_without_a_port_nothing_is_loaded_and_nothing_counted() -> None:
    with serving_metrics("127.0.0.1", None) as metrics:
        assert type(metrics) is Metrics
    program = (
        "import sys; import handler\n"
        "with handler.serving_metrics('127.0.0.1', None): pass\n"
        "sys.exit('prometheus_client' in sys.modules or 'uvicorn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_the_documentation_has_each_metric_with_its_labels(registry: CollectorRegistry) -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    PrometheusMetrics(registry)
    collectors: Any = registry._collector_to_names
    expected = []
    for collector in collectors:
        name = f"{collector._name}_total" if collector._type == "counter" else collector._name
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        expected.append(f"| `{name}` | {collector._type} | {labels} | {collector._documentation} |")
    assert expected == re.findall(r"^\| `vllm_worker_.*$", text, re.M)
