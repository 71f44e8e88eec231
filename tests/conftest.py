"""What all tests share."""

import logging

import pytest


@pytest.fixture
def worker_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """The worker's own log, whatever an engine or another test did to logging in this process."""
    caplog.set_level(logging.WARNING, "httpx")
    caplog.set_level(logging.INFO, "vllm_worker")  # last: it is the level of the handler as well
    monkeypatch.setattr(logging.getLogger("vllm_worker"), "propagate", True)
    return caplog
