"""Which SDK the event-driven job loop fits."""

from typing import Any

import pytest
from runpod.serverless.modules import rp_http, rp_scale

from tests.support.fake_engine import FakeEngine
from vllm_worker.configuration.settings import load_settings
from vllm_worker.serverless import job_loop
from vllm_worker.serverless.lifecycle import Lifecycle
from vllm_worker.serverless.queue import Queue
from vllm_worker.worker import Worker


def test_it_fits_the_pinned_sdk() -> None:
    assert job_loop.sdk_difference() == ""


async def _another(self: Any, queue: Any) -> None: ...


@pytest.mark.parametrize(
    ("owner", "name", "value", "says"),
    [
        (job_loop._SdkLoop, "run_jobs", _another, "run_jobs takes (self, queue)"),
        (job_loop._SdkLoop, "get_jobs", None, "get_jobs is gone"),
        (rp_http, "_transmit", _another, "_transmit takes"),
        (rp_scale, "JobScaler", None, "JobScaler is gone"),
    ],
)
def test_with_another_sdk_the_sdks_own_loop_runs(
    owner: Any,
    name: str,
    value: Any,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    worker_log: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(owner, name, value)
    loop = rp_scale.JobScaler
    worker = Worker(load_settings({}), FakeEngine())
    job_loop.install(Lifecycle(worker, Queue(lambda: None)))
    assert rp_scale.JobScaler is loop
    assert says in worker_log.text
