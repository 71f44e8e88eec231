"""A worker's reports to its local endpoint."""

from typing import Any

import httpx

from tests.support.running import running_endpoint
from tests.support.waiting import eventually
from vllm_worker.local_endpoint.process import EndpointProcess
from vllm_worker.observability.self_report import SelfReport
from vllm_worker.observability.timeline import Timeline, timeline
from vllm_worker.serverless.reporting import Reporter


def said_at(endpoint: EndpointProcess) -> Any:
    return httpx.get(f"{endpoint.url}/playground/worker.json", trust_env=False).json()


def test_reports_arrive_during_the_start_and_each_second() -> None:
    start = Timeline(0.0)
    with running_endpoint() as endpoint:
        reporter = Reporter(endpoint.url, "local", SelfReport({}, {}, start))
        with reporter.during_start():
            timeline.end("of this test")
        assert said_at(endpoint)["ready"] is False
        assert said_at(endpoint)["age_s"] is not None
        start.log()
        timeline.end("of this test")  # nobody is told any more
        assert said_at(endpoint)["ready"] is False
        with reporter.each_second():
            eventually(lambda: said_at(endpoint)["ready"])


def test_an_endpoint_that_is_gone_is_no_reason_to_fail() -> None:
    Reporter("http://127.0.0.1:1", "local", SelfReport({}, {})).post()
