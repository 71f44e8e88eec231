"""Every variable that worker-vllm has had since 2023, and the environments of other software."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.migration_table import NOT_A_VARIABLE
from tests.support.configurations import load
from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.catalogue import catalogue, words

HERE = Path(__file__).parent
HISTORY = json.loads((HERE / "worker_vllm_variables.json").read_text())["variables"]
FOREIGN = json.loads((HERE / "foreign_environments.json").read_text())

READ_BY_LIBRARIES = {*words()["libraries"]["read"]}
TABLE_TEXT = {"Model's maximum", "same as model", "model revision", "—", "-", "Default"}


def values() -> Iterator[tuple[str, str]]:
    """Each variable with each default and choice that is a value, not a table's words."""
    for name, facts in HISTORY.items():
        texts = {*facts["defaults"], *facts["choices"], ""}
        for text in sorted(texts - TABLE_TEXT):
            words_of_a_table = " " in text or text.startswith(("--", "*", "_"))
            names_an_option = text in (name.lower().removeprefix("vllm_runpod_"), text.upper())
            if not words_of_a_table and not (names_an_option and text != ""):
                yield name, text


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)


def test_the_history_has_all_variables() -> None:
    assert len(HISTORY) == 161


@pytest.mark.parametrize(("name", "text"), list(values()))
def test_a_value_of_worker_vllm_starts(name: str, text: str) -> None:
    load(MODEL_NAME="org/model", **({} if name == "MODEL_NAME" else {name: text}))


@pytest.mark.parametrize("name", sorted(HISTORY.keys() - NOT_A_VARIABLE - READ_BY_LIBRARIES))
def test_a_variable_of_worker_vllm_works_or_has_a_note(name: str) -> None:
    text = example(name)
    needed = {"TOOL_CALL_PARSER": "hermes"} if name == "ENABLE_AUTO_TOOL_CHOICE" else {}
    model = {} if name == "MODEL" else {"MODEL_NAME": "org/model"}
    configuration = load_configuration(model | needed | {name: text})
    known = words()["aliases"].get(name, name)
    works = known in catalogue() and configuration.values[known].text == text
    assert works or any(name in note for note in configuration.notes)


def example(name: str) -> str:
    """A value that is not the default, so that an effect can be seen."""
    variable = catalogue().get(words()["aliases"].get(name, name))
    if variable is None:
        return "1" if name.startswith("DISABLE") else "3"
    if variable.name in ("VLLM_CONFIG_FILE", "CUSTOM_CHAT_TEMPLATE", "TOOL_PARSER_PLUGIN"):
        return __file__ if variable.name != "VLLM_CONFIG_FILE" else str(HERE / "vllm.yaml")
    if variable.name == "LORA_MODULES":
        return "a=org/a"
    if variable.name == "VLLM_EXTRA_ARGS":
        return "--seed=3"
    if variable.name in ("BLOCK_SIZE", "MAX_CONCURRENCY"):
        return "32"
    if variable.choices:
        return variable.choices[-1]
    kinds = {"boolean": "1", "JSON": "{}", "number": "0.5", "integer": "40", "size": "512"}
    return "1.5" if "GROWTH" in name else kinds.get(variable.type, "text")


@pytest.mark.parametrize("software", FOREIGN)
def test_the_environment_of_other_software_starts_without_a_word(software: str) -> None:
    environment = FOREIGN[software]
    configuration = load(MODEL_NAME="org/model", **environment)
    tables = ("aliases", "retired", "translated", "elsewhere")
    ours = {*catalogue(), *(name for table in tables for name in words()[table])}
    expected = {name for name in environment if name in ours or name.lower() in OF_A_SERVER}
    for note in configuration.notes:
        of_the_platform = note.startswith("There is no network volume")
        assert of_the_platform or any(note.startswith(name) for name in expected), note


OF_A_SERVER = {option for names in words()["not_offered"].values() for option in names}
