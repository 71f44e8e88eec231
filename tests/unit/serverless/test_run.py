"""What the SDK is told before it is imported."""

import pytest

from vllm_worker.serverless.run import _log_level


@pytest.mark.parametrize(
    ("environment", "level"),
    [
        ({}, "INFO"),
        ({"RUNPOD_LOG_LEVEL": "warning"}, "WARN"),
        ({"RUNPOD_LOG_LEVEL": " Error "}, "ERROR"),
        ({"RUNPOD_LOG_LEVEL": "2"}, "DEBUG"),
        ({"RUNPOD_DEBUG_LEVEL": "debug"}, "DEBUG"),
        ({"RUNPOD_LOG_LEVEL": "ERROR", "RUNPOD_DEBUG_LEVEL": "debug"}, "ERROR"),
        ({"RUNPOD_LOG_LEVEL": "", "RUNPOD_DEBUG_LEVEL": "TRACE"}, "TRACE"),
    ],
)
def test_a_level_in_any_form_is_one_of_the_sdks(environment: dict[str, str], level: str) -> None:
    assert _log_level(environment) == level


def test_a_level_that_is_none_has_a_note(worker_log: pytest.LogCaptureFixture) -> None:
    assert _log_level({"RUNPOD_LOG_LEVEL": "chatty"}) == "INFO"
    assert "RUNPOD_LOG_LEVEL=CHATTY has no effect: the levels are NOTSET" in worker_log.text
