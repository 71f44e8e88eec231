"""Wrong and right configurations, as whole processes."""

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.commands import TOKEN, run
from tests.support.configurations import WRONG
from tests.support.worker_process import ROOT


@pytest.mark.parametrize(("environ", "line"), WRONG)
def test_a_wrong_configuration_ends_the_start_with_code_2(
    environ: dict[str, str], line: str
) -> None:
    ended = run("handler.py", **environ)
    output = ended.stdout + ended.stderr
    assert ended.returncode == 2, output
    assert line in output
    assert "Traceback" not in output
    assert TOKEN not in output


def test_the_command_shows_the_configuration_and_where_it_comes_from() -> None:
    table = run("-m", "vllm_worker", "config", MAX_MODEL_LEN="4096").stdout
    assert any(
        line.split() == ["MAX_MODEL_LEN", "4096", "environment"] for line in table.splitlines()
    )
    assert TOKEN not in table
    values = json.loads(run("-m", "vllm_worker", "config", "--json").stdout)
    assert values["MODEL_NAME"] == {"value": "org/model", "origin": "environment"}
    assert values["HF_TOKEN"]["value"] == "***"


def test_the_command_checks() -> None:
    assert run("-m", "vllm_worker", "config", "--check").returncode == 0
    wrong = run("-m", "vllm_worker", "config", "--check", MAX_CONCURRENCY="x")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("MAX_CONCURRENCY='x': ")


def test_the_command_searches_without_importing_vllm() -> None:
    started = time.monotonic()
    found = run("-X", "importtime", "-m", "vllm_worker", "config", "--list", "batch")
    assert "DEFAULT_BATCH_SIZE " in found.stdout
    assert "UBATCH_SIZE" in found.stdout
    assert " vllm\n" not in found.stderr
    assert " torch\n" not in found.stderr
    assert time.monotonic() - started < 60  # only so that a hang is a failure


@pytest.mark.parametrize(
    ("document", "schema"),
    [("worker-config.json", "worker-config"), (".runpod/hub.json", "hub"),
     (".runpod/tests.json", "tests")],
)  # fmt: skip
def test_what_runpod_reads_has_runpods_form(document: str, schema: str) -> None:
    jsonschema.validate(read(document), read(f"tests/schemas/{schema}.schema.json"))


def test_the_form_lists_each_variable_once_and_describes_it() -> None:
    form = read("worker-config.json")
    (version,) = form["versions"].values()
    listed = [name for category in version["categories"] for name in category["settings"]]
    assert sorted(listed) == sorted(form["schema"])
    assert len(listed) == len(set(listed)) >= 70


def read(path: str) -> Any:
    return json.loads((ROOT / Path(path)).read_text())
