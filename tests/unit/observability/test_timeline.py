"""The timeline of a start, and what is read ahead."""

import subprocess
import sys
import time

import pytest

from tests.support.waiting import eventually
from vllm_worker.observability.timeline import Timeline, step


def test_the_parts_of_a_start_add_up_to_it(worker_log: pytest.LogCaptureFixture) -> None:
    timeline = Timeline(100.0, iter([104.0, 109.5, 111.0]).__next__)
    for part in ("imports", "engine", "imports"):
        timeline.end(part)
    timeline.note("engine", "weights", 3.14)
    timeline.log()
    assert "11.0 s after the start: imports 5.5, engine 5.5 (weights 3.1)" in worker_log.text


def test_what_takes_long_says_that_it_still_runs(worker_log: pytest.LogCaptureFixture) -> None:
    with step("engine built", patience_s=0.01):
        eventually(lambda: "engine built: not yet, after 0 s" in worker_log.text)
    with step("engine made"):
        pass
    assert "engine built in 0." in worker_log.text
    assert "engine made: not yet" not in worker_log.text


def test_a_start_is_counted_from_that_of_the_process() -> None:
    script = (
        "import time; time.sleep(0.5)\n"
        "from vllm_worker.observability.timeline import process_started\n"
        "print(time.monotonic() - process_started())"
    )
    before = time.monotonic()
    seconds = float(subprocess.check_output([sys.executable, "-c", script]))
    assert 0.5 <= seconds <= time.monotonic() - before + 0.05  # a hundredth is a tick of the system
