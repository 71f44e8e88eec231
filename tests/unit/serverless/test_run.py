"""What the SDK is told before it is imported."""

import pytest

from vllm_worker.errors import ConfigurationError
from vllm_worker.serverless.run import _log_level, check_mode


@pytest.mark.parametrize(
    ("environment", "level"),
    [
        ({}, "WARN"),
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
    assert _log_level({"RUNPOD_LOG_LEVEL": "chatty"}) == "WARN"
    assert "RUNPOD_LOG_LEVEL=CHATTY has no effect: the levels are NOTSET" in worker_log.text


@pytest.mark.parametrize(
    ("arguments", "environment", "mode"),
    [
        (["--test_input={}"], {}, "--test_input"),
        (["--rp_serve_api"], {}, "--rp_serve_api"),
        (["--rp_serve"], {}, "--rp_serve_api"),
        ([], {"RUNPOD_REALTIME_PORT": "8080"}, "RUNPOD_REALTIME_PORT"),
    ],
)
def test_a_mode_in_which_no_engine_would_start_is_refused(
    arguments: list[str], environment: dict[str, str], mode: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{mode} is not supported. Without RunPod's"):
        check_mode(["handler.py", *arguments], environment)


def test_other_arguments_and_ports_that_are_none_are_no_mode() -> None:
    check_mode(["handler.py", "--", "--rp_log_level=INFO"], {"RUNPOD_REALTIME_PORT": "0"})
