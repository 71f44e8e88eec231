"""Values that nobody means: each ends in a configuration or in a line that names the variable."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.configurations import load, problems, write
from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.show import effective
from vllm_worker.errors import ConfigurationError

SECRET = "hf_planted"
LONG = "1" * 5000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ALLOWED_MEDIA_DOMAINS", "[example.com]"),
        ("ALLOWED_MEDIA_DOMAINS", "[1]"),
        ("CUSTOM_CHAT_TEMPLATE", "You are a helpful assistant. " * 20),
        ("CUSTOM_CHAT_TEMPLATE", "{{ " + LONG + " }}"),
        ("CUSTOM_CHAT_TEMPLATE", "{{" + "(" * 1000 + "1" + ")" * 1000 + "}}"),
        ("MODEL_NAME", "/" + "a" * 300),
        ("TOOL_PARSER_PLUGIN", "a" * 300),
        ("LORA_MODULES", "a=/" + "b" * 300),
        ("LORA_MODULES", "[" * 100_000),
        ("LORA_MODULES", f"[{LONG}]"),
        ("BLOCK_SIZE", "²"),
        ("BLOCK_SIZE", LONG),
        ("LIMIT_MM_PER_PROMPT", f"image={LONG}"),
        ("DISABLE_LOG_REQUESTS", "maybe"),
    ],
)
def test_a_value_that_cannot_be_read_is_named(name: str, text: str) -> None:
    assert all(line.startswith(name) for line in problems(**{name: text}))


@pytest.mark.parametrize(
    "content",
    [
        {"default": {"environment": ["A=1"]}},
        {"default": {"environment": "x"}},
        {"default": {"flags": ["a"]}},
        {"default": {"extra_flags": 5}},
        {"default": {"extra_flags": {"a": "b"}}},
        {"overrides": [1]},
        "default: {environment: {1: x}}",
        "a: 2024-02-30",
        "default: &a {flags: {hf-overrides: *a}}",
        "[" * 600,
        f'default:\n  environment:\n    HF_TOKEN: "{SECRET}\n    SEED: 5\n',
        f"default:\n  environment: {{HF_TOKEN: {SECRET}}}]",
        f"default:\n  HF_TOKEN={SECRET}: 5",
        f"default: {{flags: {{HF_TOKEN={SECRET}: 5}}}}",
    ],
)
def test_a_file_of_the_wrong_form_is_named_without_what_is_in_it(
    tmp_path: Path, content: Any
) -> None:
    lines = problems(WORKER_CONFIG_FILE=write(tmp_path, "worker.yaml", content))
    assert all(line.startswith("WORKER_CONFIG_FILE") for line in lines)
    assert SECRET not in str(lines)


def test_extra_flags_may_be_a_line(tmp_path: Path) -> None:
    content = {"default": {"extra_flags": "--seed 3"}}
    file = write(tmp_path, "worker.yaml", content)
    assert load(WORKER_CONFIG_FILE=file).file_flags == ("--seed", "3")


def test_a_model_that_the_workers_file_names_has_no_defaults_of_the_demo(tmp_path: Path) -> None:
    content = {"default": {"environment": {"MODEL_NAME": "https://hf.co/org/real"}}}
    file = write(tmp_path, "worker.yaml", content)
    configuration = load(MODEL_NAME="", WORKER_CONFIG_FILE=file)
    assert configuration.model == "org/real"
    assert not [v for v in configuration.values.values() if v.origin == "embedded model"]


@pytest.mark.parametrize("token", [SECRET, "a'b\\hf_planted"])
def test_a_secret_is_in_no_note_and_no_problem(token: str) -> None:
    notes = load(HF_TOKEN=token, DEVICE=token, MODEL_NAME=f"https://hf.co/o/n?token={token}").notes
    assert len(notes) == 2
    assert SECRET not in str(notes)
    (line,) = problems(HUGGING_FACE_HUB_TOKEN=token, HF_TOKEN="hf_another", SEED=token)
    assert SECRET not in line


@pytest.mark.parametrize(
    ("environ", "name", "value"),
    [
        ({"SPECULATIVE_CONFIG": "None", "SPECULATIVE_MODEL": "a/b"}, "SPECULATIVE_CONFIG", None),
        ({"ENABLE_LORA": "None", "LORA_MODULES": "a=b/c"}, "LORA_MODULES", "a=b/c"),
        ({"RUNNER": "None", "TASK": "embed"}, "RUNNER", "pooling"),
        ({"ENABLE_LOG_REQUESTS": "None", "DISABLE_LOG_REQUESTS": "0"}, "ENABLE_LOG_REQUESTS", "1"),
    ],
)
def test_none_is_not_set_for_what_is_read_in_its_place(
    environ: dict[str, str], name: str, value: str | None
) -> None:
    text = load(**environ).values[name].text
    assert text == (value or json.dumps({"model": "a/b"}))


def test_none_of_an_older_variable_changes_nothing() -> None:
    assert "ENABLE_LOG_REQUESTS" not in load(DISABLE_LOG_REQUESTS="None").values


@pytest.mark.parametrize("name", ["HF_TOKEN", "MAX_MODEL_LEN", "LORA_MODULES"])
def test_empty_quotes_are_not_set(name: str) -> None:
    assert name not in load(**{name: '""'}).values


def test_an_empty_word_is_a_value() -> None:
    line = "--generation-config '' --seed 3"
    assert load(VLLM_EXTRA_ARGS=line).settings.vllm_extra_args == line


def test_zero_may_have_several_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 2)
    values = load(PIPELINE_PARALLEL_SIZE="00").values
    assert values["TENSOR_PARALLEL_SIZE"].text == "2"


def test_a_list_of_trusted_fields_may_be_json() -> None:
    settings = load(TRUST_REQUEST_FIELDS='["vllm_xargs"]', TRUST_REQUEST_MM_KWARGS="1").settings
    assert "vllm_xargs" in settings.trusted_request_fields


@pytest.mark.parametrize("unset", ["", "None", "null", '"None"'])
def test_none_leaves_the_word_to_weaker_sources(tmp_path: Path, unset: str) -> None:
    file = write(tmp_path, "w.yaml", "default: {flags: {max-model-len: 16k}}")
    configuration = load_configuration(
        {"WORKER_CONFIG_FILE": file, "MAX_MODEL_LEN": unset, "TOOL_CALL_PARSER": unset}
    )
    assert configuration.values["MAX_MODEL_LEN"].text == "16k"
    assert configuration.values["TOOL_CALL_PARSER"].text == "hermes"  # the embedded model's
    assert load_configuration({"GPU_MEMORY_UTILIZATION": unset}).values["GPU_MEMORY_UTILIZATION"]
    model = load_configuration({"MODEL_NAME": unset, "MODEL": "org/model"}).settings.model_name
    assert model == "org/model"
    assert load_configuration({"WORKER_CONFIG_FILE": unset}).settings.model_name == "demo"


def test_zero_leaves_the_word_to_weaker_sources(tmp_path: Path) -> None:
    file = write(tmp_path, "w.yaml", "default: {flags: {max-model-len: 16k}}")
    configuration = load_configuration({"WORKER_CONFIG_FILE": file, "MAX_MODEL_LEN": "0"})
    assert configuration.values["MAX_MODEL_LEN"].text == "16k"
    assert "MAX_MODEL_LEN=0 counts as not set." in configuration.notes


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ({"HF_TOKEN": '"hf_abcdef"'}, "hf_abcdef"),
        ({"HF_TOKEN": "None"}, None),
        ({"HF_TOKEN": "null", "HUGGING_FACE_HUB_TOKEN": "hf_older"}, "hf_older"),
        ({"HF_TOKEN": ""}, None),
        ({"HF_TOKEN": "hf_plain"}, "hf_plain"),
    ],
)
def test_the_libraries_get_the_token_that_was_meant(
    given: dict[str, str], token: str | None
) -> None:
    environ = {"MODEL_NAME": "org/model", "HF_HOME": "None", **given}
    load_configuration(environ).export(environ)
    assert environ.get("HF_TOKEN") == token
    assert environ.get("HF_HOME", "") != "None"


def test_older_names_in_a_file_are_read_as_in_the_environment(tmp_path: Path) -> None:
    lines = (
        "default:\n  environment:\n    SERVED_MODEL_NAME: mine\n    MAX_MODEL_LENGTH: 8k\n"
        "    SWAP_SPACE: 4\n    AWS_SECRET_ACCESS_KEY: hidden-key\n"
    )
    file = write(tmp_path, "w.yaml", lines)
    configuration = load_configuration({"WORKER_CONFIG_FILE": file, "MODEL_NAME": "org/model"})
    assert configuration.settings.served_model_names == ["mine"]
    assert configuration.values["MAX_MODEL_LEN"].text == "8k"
    assert any(note.startswith("SWAP_SPACE=4 has no effect") for note in configuration.notes)
    assert "hidden-key" not in effective(configuration)
    assert configuration.library_env["AWS_SECRET_ACCESS_KEY"] == "hidden-key"


def test_a_model_of_another_case_has_its_entry(tmp_path: Path) -> None:
    file = write(tmp_path, "w.yaml", "overrides: {Org/Model: {flags: {max-num-seqs: 7}}}")
    values = load_configuration({"WORKER_CONFIG_FILE": file, "MODEL_NAME": "org/model"}).values
    assert values["MAX_NUM_SEQS"].text == "7"


def test_words_of_a_file_are_checked_as_those_of_a_variable(tmp_path: Path) -> None:
    file = write(tmp_path, "w.yaml", "default: {extra_flags: [--hf-token, hf_SECRET]}")
    with pytest.raises(ConfigurationError) as raised:
        load_configuration({"WORKER_CONFIG_FILE": file})
    assert "extra_flags: --hf-token cannot be set" in str(raised.value)
    assert "hf_SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        '"org/model" # mine',
        "org / model",
        "a/b/c",
        "~/models/x",
        "https://huggingface.co/gpt2",
        "x" * 300,
    ],
)
def test_what_can_be_no_model_is_said(name: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_configuration({"MODEL_NAME": name})
    assert "folder" in str(raised.value)


@pytest.mark.parametrize("name", ["gpt2", "org/model.v1_2-x", "s3://bucket/model"])
def test_what_can_be_a_model_is_taken(name: str) -> None:
    assert load_configuration({"MODEL_NAME": name}).model == name


@pytest.mark.parametrize(
    "environ",
    [
        {"TRUST_REQUEST_FIELDS": '["vllm_xargs"', "TRUST_REQUEST_MM_KWARGS": "1"},
        {"TRUST_REQUEST_FIELDS": "[" * 100_000},
        {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "[" * 100_000},
        {"AUDIO_MAX_BYTES": "9" * 330},
        {"ALLOWED_MEDIA_DOMAINS": "*.example.com"},
    ],
)
def test_what_cannot_be_read_is_a_problem_and_no_traceback(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_configuration(environ)
    assert next(iter(environ)) in str(raised.value)


def test_adapters_at_run_time_need_adapters() -> None:
    environ = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "ENABLE_LORA": "false"}
    (note,) = load_configuration(environ).notes
    assert note == "VLLM_ALLOW_RUNTIME_LORA_UPDATING has no effect: ENABLE_LORA is false."
