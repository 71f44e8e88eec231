"""The benchmark's figures, from a load whose times are known."""

import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmarks.cold_start import Start
from benchmarks.cold_start_report import KINDS, ColdStarts, FirstJob, summary
from benchmarks.figures import Figures, measure, median
from benchmarks.platform import Answer
from benchmarks.report import RESULTS, results_file
from benchmarks.systems import CHAT_STREAM, NATIVE, Case, System


async def test_figures_of_a_known_load(tmp_path: Path) -> None:
    platform = SimpleNamespace(posts=5)

    async def ask_all(case: Case) -> list[Answer]:
        platform.posts += 6
        return [Answer(10.0, [10.1, 10.2, 11.0], 12.0), Answer(10.0, [10.3, 10.4, 10.5], 11.0)]

    stand_in: Any = platform
    lags = tmp_path / "lag"
    ticks = [(9.9, 9.0), (10.5, 0.002), (11.5, 0.03), (12.1, 9.0)]  # the outer ones not in the load
    lags.write_bytes(b"".join(struct.pack("dd", *tick) for tick in ticks))
    system = System("ours", [psutil.Process(os.getpid())], ask_all, stand_in, lags)
    figures = await measure(system, Case(NATIVE, streams=2, latency=0.0, tokens=100))
    assert figures.tokens_per_s == pytest.approx(100)
    assert figures.first_p50 == pytest.approx(200)
    assert figures.first_p99 == pytest.approx(300)
    assert figures.gap_longest == figures.gap_p99 == pytest.approx(800)
    assert figures.posts == 6
    assert figures.lag_p99 == figures.lag_longest == pytest.approx(30)
    assert figures.memory > 1


def test_a_median_is_taken_figure_by_figure() -> None:
    rounds = [Figures(*map(int, range(n, n + 10))) for n in (30, 10, 20)]
    assert median(rounds) == rounds[2]


def test_a_case_asks_for_the_same_in_every_form() -> None:
    chat = Case(CHAT_STREAM, 1, 0.0, 7)
    assert chat.job == {"openai_route": chat.route, "openai_input": chat.body}
    native = Case(NATIVE, 1, 0.0, 7)
    assert native.body.items() >= native.job["sampling_params"].items()
    assert native.body["prompt"] == native.job["prompt"]


def test_the_report_of_cold_starts_says_what_was_kept_to() -> None:
    jobs = {kind: FirstJob(first=100, following=40) for kind in KINDS}
    slow = jobs | {"tools": FirstJob(first=111, following=40)}
    results = ColdStarts(
        machine={"cores": "2"},
        ours=[16.0, 17.0, 30.0],
        proxy=[20.0, 19.0, 40.0],
        parts=[{"imports": seconds} for seconds in (7.0, 8.0, 9.0)],
        first_jobs=[jobs, slow, jobs],
        compiled=[[50.0, 25.0]],
    )
    lines = summary(results).splitlines()
    assert "| this worker | 17.0 | 0.85 | ≤ 0.85 | met |" in lines
    assert "| this worker, model compiled, same volume again | 25.0 | 0.50 | ≤ 1 | met |" in lines
    assert "| imports | 8.0 |" in lines
    assert "| tools | 100 | 40 | 110 | 2 of 3 |" in lines
    assert "| chat | 100 | 40 | 110 | 3 of 3 |" in lines


def test_parts_of_a_start_are_read_from_its_log() -> None:
    parts = "local endpoint 3.5, engine 5.5 (weights 3.1)"
    log = f"x\n… worker | ready for jobs, 9.0 s after the start: {parts}\n"
    assert Start(9.1, {}, log).parts == {
        "local endpoint": 3.5,
        "engine": 5.5,
        "of which weights": 3.1,
    }


def test_results_of_another_model_or_machine_are_kept_apart() -> None:
    assert results_file("demo") == RESULTS
    assert results_file("org/a model").name == "org-a-model.json"
    assert results_file("demo", "NVIDIA H100 80GB").name == "NVIDIA-H100-80GB-demo.json"
