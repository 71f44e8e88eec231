"""What this machine has for a worker."""

from pathlib import Path

import pytest

from tests.support.mounts import read_only
from vllm_worker.machine.facts import MachineFinding, machine_findings


def findings(**environ: str) -> dict[str, MachineFinding]:
    found = machine_findings({"PATH": "/usr/bin:/bin", **environ})
    return {finding.check: finding for finding in found}


def test_all_is_looked_at(tmp_path: Path) -> None:
    found = findings(BASE_PATH=str(tmp_path))
    assert set(found) == {"versions", "GPU", "memory", "variables", "volume"}
    assert not any(finding.problem for finding in found.values())
    assert found["volume"].text == f"{tmp_path} can be written"


def test_a_volume_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    with read_only(tmp_path):
        found = findings(BASE_PATH=str(tmp_path))
    assert found["volume"].problem.startswith(f"{tmp_path}: cannot be written to")


def test_wrong_variables_are_a_problem_and_secrets_are_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = findings(MODEL_NAME="org/model", HF_TOKEN="hf_secret", MAX_MODEL_LEN="many")
    assert "MAX_MODEL_LEN" in found["variables"].problem
    assert "hf_secret" not in str(found) + "".join(capsys.readouterr())


def test_variables_are_shown_without_secrets() -> None:
    found = findings(MODEL_NAME="demo", HF_TOKEN="hf_secret", MAX_MODEL_LEN="1k")
    assert found["variables"].text == "HF_TOKEN=***; MAX_MODEL_LEN=1k; MODEL_NAME=demo"
