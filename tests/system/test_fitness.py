"""The SDK's fitness checks, in a process of their own."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.worker_process import ENVIRONMENT
from vllm_worker.errors import StartFailure
from vllm_worker.serverless import fitness
from vllm_worker.serverless.fitness import fitness_checks

SKIPS = ("RUNPOD_SKIP_GPU_CHECK", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    for name in SKIPS:
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_fit_machine_passes_and_the_sdk_checks_no_more(capfd: pytest.CaptureFixture[str]) -> None:
    os.environ["RUNPOD_LOG_LEVEL"] = "debug"
    with fitness_checks(on_runpod=True) as require:
        require()
        assert {os.environ[name] for name in SKIPS} == {"true"}
    said = capfd.readouterr().out
    assert "All fitness checks passed" in said
    assert "Network connectivity passed" in said


def test_a_machine_that_fails_a_check_does_not_start() -> None:
    os.environ["RUNPOD_MIN_MEMORY_GB"] = "100000"
    with (
        fitness_checks(on_runpod=True) as require,
        pytest.raises(StartFailure, match="failed a fitness check"),
    ):
        require()


def test_a_wrong_variable_of_the_checks_is_no_fault_of_the_machine(
    capfd: pytest.CaptureFixture[str],
) -> None:
    os.environ["RUNPOD_MIN_MEMORY_GB"] = "much"
    with (
        fitness_checks(on_runpod=True) as require,
        pytest.raises(StartFailure, match="the process of the fitness checks"),
    ):
        require()
    said = capfd.readouterr().err
    assert "a variable of the fitness checks is wrong" in said
    assert "Traceback" not in said


def test_checks_that_hang_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def sleep() -> Any:
        processes.append(subprocess.Popen(["sleep", "60"], start_new_session=True))
        return processes[-1]

    monkeypatch.setattr(fitness, "_start", sleep)
    monkeypatch.setattr(fitness, "_TIMEOUT_S", 0.1)
    with (
        fitness_checks(on_runpod=True) as require,
        pytest.raises(StartFailure, match="did not end in"),
    ):
        require()
    assert processes[0].poll() is not None


@pytest.mark.parametrize("skipped", [True, False])
def test_where_they_are_not_wanted_nothing_is_checked(
    monkeypatch: pytest.MonkeyPatch, skipped: bool
) -> None:
    if skipped:
        os.environ.update(dict.fromkeys(SKIPS, "True"))
    monkeypatch.setattr(fitness, "_start", pytest.fail)
    with fitness_checks(on_runpod=skipped) as require:
        require()
