"""The seed's three tables and RunPod's page of variables, row by row.

The jobs of the tables are in tests/engine/test_older_jobs.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.configurations import load
from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.catalogue import catalogue, words

TABLES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "tables.json").read_text())
SEED = TABLES["seed_variables"]
ROWS = [
    (table, name, text)
    for table in ("seed_variables", "runpod_variables")
    for name, texts in TABLES[table].items()
    for text in texts
    if text is not None
]
OF_THE_BUILD = {"WORKER_CUDA_VERSION"}
"""Arguments for building worker-vllm's image, which are in no container's environment."""
OTHER_DEFAULTS = {
    "MODEL_NAME": "demo",  # on one's own machine; on RunPod it has to be set
    "BLOCK_SIZE": "",  # what the attention backend wants
}


@pytest.fixture(autouse=True)
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)


@pytest.mark.parametrize(("table", "name", "text"), ROWS)
def test_a_row_works_or_says_what_became_of_it(table: str, name: str, text: str) -> None:
    needed = {"MODEL_NAME": "org/model", "TOOL_CALL_PARSER": "hermes"}
    configuration = load_configuration(needed | {name: text})
    known = words()["aliases"].get(name, name)
    value = configuration.values.get(known)
    kept = value is not None and same(value.text, text)
    noted = any(name in note for note in configuration.notes)
    # An empty list of adapters, and what means "vLLM's own default", need no word.
    says_nothing = text in ("[]", "auto", "0", "False", "{}")
    assert kept or noted or (known in catalogue() and says_nothing) or name in OF_THE_BUILD


def same(text: str, other: str) -> bool:
    booleans = {"true": "1", "false": "0"}
    return booleans.get(text.lower(), text) == booleans.get(other.lower(), other)


@pytest.mark.parametrize("name", sorted(SEED.keys() & catalogue().keys()))
def test_the_seeds_defaults_are_ours(name: str) -> None:
    default = SEED[name][0] or ""
    assert catalogue()[name].default == OTHER_DEFAULTS.get(name, default)


def test_all_rows_of_the_seed_at_once() -> None:
    """As one who copies the table into a form does."""
    rows = {name: texts[0] or "" for name, texts in SEED.items()} | {"MODEL_NAME": "org/model"}
    configuration = load(**rows)
    assert configuration.settings.schedule.maximum == 50
    assert configuration.settings.max_concurrency == 300
    assert configuration.values["GPU_MEMORY_UTILIZATION"].text == "0.95"
