"""The table of versions, and what it is made of."""

from pathlib import Path

import pytest

from builder import version_table
from builder.version_table import Result

FAILED = ["tests/engine/test_a.py::test_x[a|b]"]
OLD = Result("0.9.2", "abc1234", 90, FAILED, {"too old": 2, "no": 1}, "interval", 9, 1.5)
NEW = Result("0.10.0", "abc1234", 100, [], {}, "state", 6.0, 1.0, "no CPU build")


def test_a_row_for_each_version_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    version_table.merge([OLD, NEW], path)
    lines = version_table.table(version_table.load(path)).splitlines()
    assert lines[:4] == [
        "| vLLM | passed | failed | skipped | flow control | start-up | note |",
        "|---|---|---|---|---|---|---|",
        "| 0.10.0 | 100 | 0 | 0 | state | 1.00 × | no CPU build |",
        "| 0.9.2 | 90 | **1** | 3 | interval | 1.50 × | |",
    ]


def test_what_failed_and_what_was_skipped_is_named() -> None:
    text = version_table.table([NEW, OLD])
    assert "Failed with 0.9.2:\n\n- `tests/engine/test_a.py::test_x[a|b]`\n" in text
    assert "Skipped with 0.9.2:\n\n- 2: too old\n- 1: no\n" in text
    assert "with 0.10.0" not in text


def test_of_many_failures_only_the_first_are_named() -> None:
    many = Result("0.9.2", failed=[f"test_{number}" for number in range(50)])
    text = version_table.table([many])
    assert "- `test_19`\n- and 30 more" in text
    assert "test_20" not in text


def test_a_start_that_was_not_measured_leaves_its_cell_empty() -> None:
    assert version_table.table([Result("0.9.2", passed=1)]).splitlines()[2] == (
        "| 0.9.2 | 1 | 0 | 0 | | | |"
    )


def test_a_start_is_compared_with_the_pinned_one() -> None:
    result = Result("0.9.2", start_s=9.0)
    result.set_ratio(None)  # it was not measured
    assert result.start_ratio is None
    result.set_ratio(6.0)
    assert result.start_ratio == 1.5


def test_the_summary_has_a_column_for_each_version() -> None:
    assert version_table.summary([NEW, OLD]).splitlines() == [
        "| vLLM | 0.10.0 | 0.9.2 |",
        "| --- | --- | --- |",
        "| passed | 100 | 90 |",
        "| failed | 0 | **1** |",
    ]


@pytest.mark.parametrize("make", [version_table.table, version_table.summary])
def test_without_results_it_says_how_to_get_some(make: object) -> None:
    assert callable(make)
    assert "make test-vllm" in make([])


def test_results_are_merged_by_version(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    version_table.merge([OLD, NEW], path)
    version_table.merge([Result("0.9.2", passed=91)], path)
    assert version_table.load(path) == [NEW, Result("0.9.2", passed=91)]
    version_table.merge([], path)
    assert len(version_table.load(path)) == 2
