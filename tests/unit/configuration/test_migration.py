"""What older workers and RunPod's forms write, and what it means here."""

import json
import re
from pathlib import Path

import pytest

from tests.support.configurations import load, problems, write
from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.catalogue import vllm_folder
from vllm_worker.configuration.checks import find_misnamed
from vllm_worker.errors import ConfigurationError


def test_the_parts_of_speculative_decoding_become_its_configuration() -> None:
    configuration = load(SPECULATIVE_MODEL="org/draft", NUM_SPECULATIVE_TOKENS="3")
    value = json.loads(configuration.values["SPECULATIVE_CONFIG"].text)
    assert value == {"model": "org/draft", "num_speculative_tokens": 3}
    (note,) = configuration.notes
    assert note.startswith("SPECULATIVE_MODEL, NUM_SPECULATIVE_TOKENS: read as ")


@pytest.mark.parametrize("how", [{"SPECULATIVE_MODEL": "[ngram]"}, {"SPECULATIVE_METHOD": "ngram"}])
def test_ngram_was_a_model_and_is_a_method(how: dict[str, str]) -> None:
    configuration = load(**how, NGRAM_PROMPT_LOOKUP_MAX="4", NUM_SPECULATIVE_TOKENS="2")
    value = json.loads(configuration.values["SPECULATIVE_CONFIG"].text)
    assert value == {"method": "ngram", "prompt_lookup_max": 4, "num_speculative_tokens": 2}


def test_a_part_of_speculative_decoding_that_says_too_little_has_a_note() -> None:
    configuration = load(NGRAM_PROMPT_LOOKUP_MAX="4", NUM_SPECULATIVE_TOKENS="0")
    assert "SPECULATIVE_CONFIG" not in configuration.values
    (note,) = configuration.notes
    assert note.endswith("have no effect without SPECULATIVE_MODEL or SPECULATIVE_METHOD.")
    given = load(SPECULATIVE_MODEL="a/b", SPECULATIVE_CONFIG='{"method": "ngram"}')
    assert given.notes == ("SPECULATIVE_MODEL has no effect: SPECULATIVE_CONFIG is set.",)
    assert problems(NUM_SPECULATIVE_TOKENS="few") == [
        "NUM_SPECULATIVE_TOKENS='few': must be an integer."
    ]


@pytest.mark.parametrize(
    ("task", "runner", "convert"),
    [
        ("generate", "generate", None),
        ("embed", "pooling", "embed"),
        ("Score", "pooling", "classify"),
    ],
)
def test_a_task_is_a_runner_and_a_conversion(task: str, runner: str, convert: str | None) -> None:
    values = load(TASK=task).values
    assert values["RUNNER"].text == runner
    assert (values["CONVERT"].text if "CONVERT" in values else None) == convert


def test_a_task_gives_way_to_what_is_set() -> None:
    configuration = load(TASK="embed", RUNNER="generate")
    assert "CONVERT" not in configuration.values
    assert configuration.notes == ("TASK=embed has no effect: RUNNER is set.",)
    assert load(TASK="embed", RUNNER="auto").values["RUNNER"].text == "pooling"


def test_a_link_may_name_a_branch() -> None:
    link = "https://huggingface.co/org/model/tree/dev"
    assert load(MODEL_NAME=link).values["MODEL_REVISION"].text == "dev"
    assert load(MODEL_NAME=link, MODEL_REVISION="main").values["MODEL_REVISION"].text == "main"
    (line,) = problems(MODEL_NAME="https://hf.co/datasets/org/x")
    assert "is neither a folder nor the name of a repository" in line


def test_a_task_that_is_none_of_vllms_is_another_programs() -> None:
    assert load(TASK="nightly-build").notes == ()


def test_pairs_limit_media() -> None:
    values = load(LIMIT_MM_PER_PROMPT="image=1, video=0").values
    assert json.loads(values["LIMIT_MM_PER_PROMPT"].text) == {"image": 1, "video": 0}


def test_zero_is_not_set_where_nothing_can_be_zero() -> None:
    configuration = load(MAX_MODEL_LEN="0", MAX_CUDAGRAPH_CAPTURE_SIZE="0")
    assert "MAX_MODEL_LEN" not in configuration.values
    assert configuration.notes == ("MAX_MODEL_LEN=0 counts as not set.",)
    assert configuration.values["MAX_CUDAGRAPH_CAPTURE_SIZE"].text == "0"


def test_choices_and_levels_may_be_in_any_case() -> None:
    assert load(DTYPE="BFloat16").values["DTYPE"].text == "bfloat16"
    assert load(LOG_LEVEL="warn").values["LOG_LEVEL"].text == "WARNING"
    (note,) = load(LOG_LEVEL="chatty").notes
    assert note.startswith("LOG_LEVEL=chatty has no effect: the levels are CRITICAL, ")


def test_a_service_of_kubernetes_is_no_port() -> None:
    configuration = load(METRICS_PORT="tcp://10.0.0.1:9090")
    assert configuration.settings.metrics_port is None
    assert len(configuration.notes) == 1


@pytest.mark.parametrize("empty", ["[]", "{}", "[ ]"])
def test_no_adapters_may_be_written_in_several_ways(empty: str) -> None:
    assert "LORA_MODULES" not in load(LORA_MODULES=empty).values


def test_adapters_that_are_switched_off_have_a_note() -> None:
    configuration = load(LORA_MODULES="a=org/a", ENABLE_LORA="false")
    assert "LORA_MODULES" not in configuration.values
    assert configuration.notes == ("LORA_MODULES has no effect: ENABLE_LORA is false.",)


def test_without_a_gpu_a_block_has_the_nearest_size_that_vllm_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load(BLOCK_SIZE="16").values["BLOCK_SIZE"].text == "32"
    assert load(BLOCK_SIZE="64").notes == ()
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    assert load(BLOCK_SIZE="16").values["BLOCK_SIZE"].text == "16"


def test_the_worker_knows_what_a_command_line_says_about_it() -> None:
    line = "--served_model_name a b --uvicorn-log-level=debug --host 0.0.0.0 --seed 3"
    configuration = load(VLLM_EXTRA_ARGS=line)
    assert configuration.settings.served_model_names == ["a", "b"]
    assert configuration.settings.vllm_extra_args == "--seed 3"
    assert [note.partition(" has")[0] for note in configuration.notes] == [
        "VLLM_EXTRA_ARGS: --uvicorn-log-level",
        "VLLM_EXTRA_ARGS: --host",
    ]


def test_the_environment_wins_over_flags_of_a_file(tmp_path: Path) -> None:
    content = {"default": {"extra_flags": ["--served-model-name", "from-file"]}}
    file = write(tmp_path, "worker.yaml", content)
    assert load(WORKER_CONFIG_FILE=file).settings.served_model_names == ["from-file"]
    both = load(WORKER_CONFIG_FILE=file, OPENAI_SERVED_MODEL_NAME_OVERRIDE="mine")
    assert both.settings.served_model_names == ["mine"]


def test_keys_of_vllms_server_in_its_file_have_a_note(tmp_path: Path) -> None:
    file = write(tmp_path, "vllm.yaml", "host: 0.0.0.0\nport: 80\nseed: 2")
    configuration = load(VLLM_CONFIG_FILE=file)
    assert configuration.values["SEED"].text == "2"
    assert configuration.notes == (
        "VLLM_CONFIG_FILE: host has no effect: the worker does not use vLLM's HTTP server.",
        "VLLM_CONFIG_FILE: port has no effect: the worker does not use vLLM's HTTP server.",
    )


@pytest.mark.parametrize(
    "name",
    [
        "https://huggingface.co/org/model",
        "hf.co/org/model/tree/main",
        " org/model/ ",
        "/no/volume/huggingface-cache/hub/models--org--model",
        "'org/model'",
    ],
)
def test_a_model_may_be_named_as_people_copy_it(name: str) -> None:
    assert load(MODEL_NAME=name).model == "org/model"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_MODEL_LENS", None),
        ("MODEL_NAM", "MODEL_NAME"),
        ("MAX_NUM_SEQ", "MAX_NUM_SEQS"),
        ("MAX_MODLE_LEN", "MAX_MODEL_LEN"),
        ("DEFAULT_BACTH_SIZE", "DEFAULT_BATCH_SIZE"),
        ("MAX_MODELS_LEN", "MAX_MODEL_LEN"),
        ("MAXMODEL_LEN", "MAX_MODEL_LEN"),
        ("GH_TOKEN", None),
    ],
)
def test_a_slip_in_a_name_has_a_note(name: str, meant: str | None) -> None:
    notes = load(**{name: "5"}).notes
    assert [note.rpartition(" ")[2] for note in notes] == ([f"{meant}?"] if meant else [])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MODEL_ID", "MODEL_NAME"),
        ("TP_SIZE", "TENSOR_PARALLEL_SIZE"),
        ("max_model_len", "MAX_MODEL_LEN"),
        ("VLLM_MAX_MODEL_LEN", "MAX_MODEL_LEN"),
        ("VLLM_PORT", None),
        ("http_proxy", None),
    ],
)
def test_what_is_called_otherwise_elsewhere_has_a_note(name: str, meant: str | None) -> None:
    notes = load_configuration({name: "5"}).notes
    assert list(notes) == ([f"{name} has no effect: the worker reads {meant}."] if meant else [])
    if meant and meant != "MODEL_NAME":
        assert load_configuration({name: "5", meant: "6"}).notes == ()


def test_no_variable_of_vllm_itself_is_taken_for_one_of_an_option() -> None:
    names = re.findall(r'^    "(VLLM_\w+)":', (vllm_folder() / "envs.py").read_text(), re.M)
    assert len(names) > 100
    assert list(find_misnamed(dict.fromkeys(names, "1"), {})) == []


def test_a_start_that_fails_names_what_was_probably_meant() -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_configuration({"MODEL_PATH": "org/model", "MAX_CONCURRENCY": "many"})
    assert "MODEL_PATH has no effect: the worker reads MODEL_NAME." in raised.value.problems


@pytest.mark.parametrize("name", ["chatml", "template_chatml", "chatml.jinja"])
def test_one_of_vllms_chat_templates_by_name(name: str) -> None:
    configuration = load_configuration({"CUSTOM_CHAT_TEMPLATE": name})
    path = configuration.settings.custom_chat_template
    assert path
    assert path.endswith("/vllm/transformers_utils/chat_templates/template_chatml.jinja")
    assert "im_start" in Path(path).read_text()
    assert any(name in note for note in configuration.notes)


@pytest.mark.parametrize(
    "name", ["/models/x.gguf", "org/Model-GGUF", "org/model-gguf:Q4_K_M", "org/m/m.Q8_0.gguf"]
)
def test_gguf_is_answered_with_what_to_use(name: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_configuration({"MODEL_NAME": name})
    assert "only with vllm-gguf-plugin, which is not installed; name the repository" in str(
        raised.value
    )


def test_gguf_is_left_to_vllms_plugin_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = "vllm_worker.configuration.checks.is_installed"
    monkeypatch.setattr(installed, lambda name: name == "vllm-gguf-plugin")
    assert load_configuration({"MODEL_NAME": "org/m-GGUF:Q4_K_M"}).model == "org/m-GGUF:Q4_K_M"


@pytest.mark.parametrize(
    ("text", "jobs"), [("auto", None), ("AUTO", None), ("300.0", 300), ("", 300)]
)
def test_auto_is_a_number_of_jobs_at_a_time(text: str, jobs: int | None) -> None:
    assert load_configuration({"MAX_CONCURRENCY": text}).settings.max_concurrency == jobs
