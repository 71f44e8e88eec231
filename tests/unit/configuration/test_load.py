"""Sources, their precedence, and problems. Nothing here needs vLLM."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.configurations import ADAPTER, WRONG, load, problems, write
from tests.support.mounts import small
from vllm_worker.configuration import Configuration, load_configuration
from vllm_worker.configuration import sources as sources_module
from vllm_worker.configuration.catalogue import catalogue, options, words
from vllm_worker.configuration.derived import count_gpus, shared_memory_note
from vllm_worker.configuration.sources import Sources


def command_line(configuration: Configuration) -> list[str]:
    return [word for _, option in configuration.options() for word in option]


# Precedence, step by step: SEED from each source and the next stronger one.


def seed(configuration: Configuration) -> str:
    words = [word for word in command_line(configuration) if word.startswith("--seed=")]
    return words[-1].removeprefix("--seed=")


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_image(values: dict[str, Any]) -> None:
        path = Path(write(tmp_path, "image.yaml", values))
        read = sources_module.read_sources
        monkeypatch.setattr(
            "vllm_worker.configuration.load.read_sources",
            lambda environ, gpus: read(environ, gpus, path),
        )

    return set_image


def test_without_a_gpu_less_of_the_memory_is_taken() -> None:
    assert load().values["GPU_MEMORY_UTILIZATION"] == ("0.4", "no GPU")


def test_the_workers_defaults_win_over_vllms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    assert load().values["GPU_MEMORY_UTILIZATION"].text == "0.95"
    assert options()["gpu_memory_utilization"]["default"] != "0.95"


def test_the_image_wins_over_the_workers_defaults(image: Any) -> None:
    image({"GPU_MEMORY_UTILIZATION": 0.5})
    assert load().values["GPU_MEMORY_UTILIZATION"] == ("0.5", "image")


def test_the_configuration_file_wins_over_the_image(image: Any, tmp_path: Path) -> None:
    image({"SEED": 1})
    file = write(tmp_path, "vllm.yaml", "seed: 2")
    assert seed(load(VLLM_CONFIG_FILE=file)) == "2"


def test_the_workers_file_wins_over_vllms_file(tmp_path: Path) -> None:
    file = write(tmp_path, "vllm.yaml", "seed: 2")
    worker = write(tmp_path, "worker.yaml", {"default": {"flags": {"seed": 3}}})
    assert seed(load(VLLM_CONFIG_FILE=file, WORKER_CONFIG_FILE=worker)) == "3"


def test_the_environment_wins_over_files(tmp_path: Path) -> None:
    entry = {"flags": {"seed": 3}, "extra_flags": ["--seed=3"]}
    worker = write(tmp_path, "worker.yaml", {"default": entry})
    assert seed(load(WORKER_CONFIG_FILE=worker, SEED="4")) == "4"


def test_extra_arguments_win_over_the_environment() -> None:
    assert seed(load(SEED="4", VLLM_EXTRA_ARGS="--seed=5 --max-num-seqs=7")) == "5"
    assert "--max-num-seqs=7" in command_line(load(VLLM_EXTRA_ARGS="--max-num-seqs=7"))


# One file for several models


def test_a_models_entry_is_merged_over_the_default(tmp_path: Path) -> None:
    content = {
        "default": {
            "environment": {"STREAM_MAX_DELAY_MS": 100, "NCCL_DEBUG": "WARN"},
            "flags": {"max-model-len": "8k", "seed": 1},
            "extra_flags": ["--max-num-seqs=1"],
        },
        "overrides": {
            "org/model": {
                "environment": {"NCCL_DEBUG": "INFO"},
                "flags": {"seed": 2},
                "extra_flags": ["--max-num-seqs=2"],
            },
            "org/other": {"flags": {"seed": 3}},
        },
    }
    configuration = load(WORKER_CONFIG_FILE=write(tmp_path, "worker.yaml", content))
    words = command_line(configuration)
    assert seed(configuration) == "2"
    assert "--max-model-len=8k" in words
    assert words.index("--max-num-seqs=1") < words.index("--max-num-seqs=2")
    assert configuration.settings.stream_max_delay_ms == 100
    assert configuration.library_env["NCCL_DEBUG"] == "INFO"


def test_vllms_file_can_name_the_model(tmp_path: Path) -> None:
    file = write(tmp_path, "vllm.yaml", "model: org/other\nserved-model-name: mine")
    settings = load_configuration({"VLLM_CONFIG_FILE": file}).settings
    assert (settings.model_name, settings.served_model_names) == ("org/other", ["mine"])


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_examples_are_right(path: Path) -> None:
    import yaml

    for model in ["org/model", *(yaml.safe_load(path.read_text()).get("overrides") or {})]:
        load(MODEL_NAME=model, WORKER_CONFIG_FILE=str(path))


# Values


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ENFORCE_EAGER", "1", ["--enforce-eager"]),
        ("ENFORCE_EAGER", "no", ["--no-enforce-eager"]),
        ("DISABLE_LOG_STATS", "off", []),
        ("MAX_MODEL_LEN", "auto", ["--max-model-len=auto"]),
        ("MAX_NUM_SEQS", "auto", []),
        ("QUANTIZATION", "None", []),
        ("CONVERT", "none", ["--convert=none"]),
        ("SEED", "-1", ["--seed=-1"]),
        ("HF_OVERRIDES", '{"a": 1}', ['--hf-overrides={"a": 1}']),
        ("ALLOWED_MEDIA_DOMAINS", "a.org, b.org", ["--allowed-media-domains", "a.org", "b.org"]),
        ("ALLOWED_MEDIA_DOMAINS", '["a.org"]', ["--allowed-media-domains", "a.org"]),
        ("LORA_MODULES", "a=o/x b=o/y", ["--lora-modules", "a=o/x", "b=o/y"]),
        ("LORA_MODULES", ADAPTER, ["--lora-modules", ADAPTER]),
        ("LORA_MODULES", f'[{ADAPTER}, "b=o/y"]', ["--lora-modules", ADAPTER, "b=o/y"]),
    ],
)
def test_a_value_becomes_words_of_the_command_line(
    name: str, text: str, expected: list[str]
) -> None:
    flag = f"--{name.lower().replace('_', '-')}"
    opposite = flag.replace("--", "--no-", 1)
    words = command_line(load(**{name: text}))
    own = [i for i, word in enumerate(words) if word.split("=")[0] in (flag, opposite)]
    assert words[own[0] : own[0] + len(expected)] == expected if own else expected == []


@pytest.mark.parametrize(
    ("alias", "name"),
    [("SERVED_MODEL_NAME", "OPENAI_SERVED_MODEL_NAME_OVERRIDE"), ("REVISION", "MODEL_REVISION")],
)
def test_vllms_own_name_for_a_variable_works_and_ours_wins(alias: str, name: str) -> None:
    assert load(**{alias: "a"}).values[name].text == "a"
    assert load(**{alias: "a", name: "b"}).values[name].text == "b"


def test_log_requests_is_a_short_name_for_vllms_option() -> None:
    assert "--enable-log-requests" in command_line(load(LOG_REQUESTS="1"))
    assert "--enable-log-requests" not in command_line(load())
    assert "--no-enable-log-requests" in command_line(load(LOG_REQUESTS="0"))


# What older workers had


def test_a_variable_that_is_gone_is_accepted_with_a_note() -> None:
    configuration = load(
        SWAP_SPACE="4", MAX_CONTEXT_LEN_TO_CAPTURE="8192", QUANTIZATION="squeezellm"
    )
    swap, capture, quantization = configuration.notes
    assert swap.startswith("SWAP_SPACE=4 has no effect: ")
    assert "MAX_CUDAGRAPH_CAPTURE_SIZE" in capture
    assert "squeezellm" in quantization
    assert "QUANTIZATION" not in configuration.values


def test_disable_log_requests_keeps_its_meaning() -> None:
    for disable, enable in [("1", "0"), ("0", "1")]:
        configuration = load(DISABLE_LOG_REQUESTS=disable)
        assert configuration.values["ENABLE_LOG_REQUESTS"].text == enable
        (note,) = configuration.notes
        assert note == f"DISABLE_LOG_REQUESTS is read as ENABLE_LOG_REQUESTS={enable}."


def test_an_option_of_vllms_server_has_a_note_without_its_value() -> None:
    (note,) = load(SSL_KEYFILE="hunter2").notes
    assert note == "SSL_KEYFILE has no effect: the worker does not use vLLM's HTTP server."


# Problems


@pytest.mark.parametrize(("environ", "line"), WRONG)
def test_a_mistake_is_named(environ: dict[str, str], line: str) -> None:
    assert problems(**environ) == [line]


def test_a_file_with_a_wrong_option_names_the_option(tmp_path: Path) -> None:
    file = write(tmp_path, "vllm.yaml", "seeed: 2")
    (line,) = problems(VLLM_CONFIG_FILE=file)
    assert line == "VLLM_CONFIG_FILE: seeed cannot be set: vLLM 0.32.0 has no such option."


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    (line,) = problems(WORKER_CONFIG_FILE=write(tmp_path, "w.yaml", "[1, 2]"))
    assert line.endswith("must hold a mapping of names to values.")
    (line,) = problems(WORKER_CONFIG_FILE=write(tmp_path, "w.yaml", "a: [1"))
    assert "is not valid YAML" in line


def test_the_name_of_a_parser_must_be_known_unless_a_plugin_brings_it() -> None:
    auto = {"ENABLE_AUTO_TOOL_CHOICE": "1", "TOOL_CALL_PARSER": "mine"}
    (line,) = problems(**auto)
    assert line.startswith("TOOL_CALL_PARSER='mine': must be one of ")
    assert load(**auto, TOOL_PARSER_PLUGIN=__file__).values["TOOL_CALL_PARSER"].text == "mine"


def test_a_quantization_that_only_a_plugin_could_bring_has_a_note() -> None:
    configuration = load(QUANTIZATION="awqq")
    (note,) = configuration.notes
    assert note.startswith("QUANTIZATION='awqq' is none of vLLM's own")
    assert note.endswith('Did you mean "awq"?')
    assert "--quantization=awqq" in command_line(configuration)
    assert not load(QUANTIZATION="awq").notes


def test_all_mistakes_come_together() -> None:
    assert len(problems(MAX_CONCURRENCY="x", SEED="y", ENFORCE_EAGER="z", DTYPE="w")) == 4


def test_a_secret_is_in_no_mistake() -> None:
    lines = problems(HF_TOKEN="hf_secret", CUSTOM_CHAT_TEMPLATE="/hf_secret", SEED="hf_secret")
    assert len(lines) == 2
    assert "hf_secret" not in "".join(lines)


# What follows from the machine


def test_tensor_parallel_follows_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 4)
    assert "--tensor-parallel-size=4" in command_line(load())
    assert "--tensor-parallel-size=2" in command_line(load(PIPELINE_PARALLEL_SIZE="2"))
    assert "--tensor-parallel-size=1" in command_line(load(TENSOR_PARALLEL_SIZE="1"))
    assert "TENSOR_PARALLEL_SIZE" not in load(DATA_PARALLEL_SIZE="4").values


def test_with_metrics_vllm_gathers_statistics_unless_told_not_to() -> None:
    assert load().values["DISABLE_LOG_STATS"] == ("1", "worker's defaults")
    assert load(METRICS_PORT="9000").values["DISABLE_LOG_STATS"] == ("0", "METRICS_PORT")
    assert "--disable-log-stats" not in command_line(load(METRICS_PORT="9000"))
    told = load(METRICS_PORT="9000", DISABLE_LOG_STATS="1")
    assert told.values["DISABLE_LOG_STATS"] == ("1", "environment")


def test_on_runpod_where_no_endpoint_listens_the_metrics_may_have_its_port() -> None:
    runpod = {"RUNPOD_WEBHOOK_GET_JOB": "http://host/v2/id/job-take/$ID"}
    assert load(**runpod, METRICS_PORT="8000").settings.metrics_port == 8000
    assert load(PORT="0", METRICS_PORT="0").settings.metrics_port == 0


def test_several_groups_and_machines_are_vllms_to_arrange() -> None:
    """How vLLM is told of them; tests/engine has its parser read each."""
    given = {
        "TENSOR_PARALLEL_SIZE": "8",
        "PIPELINE_PARALLEL_SIZE": "2",
        "DISTRIBUTED_EXECUTOR_BACKEND": "mp",
        "NNODES": "2",
        "NODE_RANK": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29502",
        "DATA_PARALLEL_SIZE": "2",
        "DATA_PARALLEL_SIZE_LOCAL": "1",
        "DATA_PARALLEL_ADDRESS": "10.0.0.1",
        "DATA_PARALLEL_BACKEND": "ray",
    }
    words = command_line(load(**given))
    for name, value in given.items():
        assert f"--{name.lower().replace('_', '-')}={value}" in words
    ray = command_line(load(DISTRIBUTED_EXECUTOR_BACKEND="ray"))
    assert "--distributed-executor-backend=ray" in ray


def test_without_a_compiler_the_cpu_build_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert load().values["ENFORCE_EAGER"].origin == "no C++ compiler"
    assert load(ENFORCE_EAGER="0").values["ENFORCE_EAGER"].text == "0"
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    assert "ENFORCE_EAGER" not in load().values


def test_gpus_are_counted_without_cuda(tmp_path: Path) -> None:
    for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"]:
        (tmp_path / name).touch()
    assert count_gpus({}, tmp_path) == 2
    assert count_gpus({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == 1
    assert count_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0


def test_too_little_shared_memory_for_several_gpus_is_said(tmp_path: Path) -> None:
    two, one = Sources(), Sources()
    two.add({"TENSOR_PARALLEL_SIZE": 2}, "visible GPUs")
    one.add({"TENSOR_PARALLEL_SIZE": 1}, "environment")
    with small(tmp_path, "64m"):
        (note,) = shared_memory_note(two, tmp_path)
        assert shared_memory_note(one, tmp_path) == shared_memory_note(Sources(), tmp_path) == []
    assert note.startswith("/dev/shm has 64 MiB left")
    assert "--shm-size" in note
    with small(tmp_path, "2g"):
        assert shared_memory_note(two, tmp_path) == []


def test_a_token_goes_to_the_environment_and_to_no_argument() -> None:
    configuration = load(HF_TOKEN="hf_secret")
    assert configuration.library_env["HF_TOKEN"] == "hf_secret"
    assert "hf_secret" not in str(command_line(configuration))
    assert "hf_secret" not in repr(configuration.settings)


# The description of all variables


def test_every_described_variable_is_known_and_in_one_of_runpods_categories() -> None:
    assert list(words()["categories"]) == [
        "LLM Settings",
        "Tokenizer Settings",
        "System Settings",
        "Streaming Settings",
        "OpenAI Settings",
        "Serverless Settings",
    ]
    described = [variable for variable in catalogue().values() if variable.category]
    assert all(variable.description for variable in described)
    assert len(described) >= 70


def test_each_option_of_vllm_is_offered_once_or_left_out_for_a_reason() -> None:
    offered = [variable.option for variable in catalogue().values() if variable.option]
    left_out = [name for names in words()["not_offered"].values() for name in names]
    assert sorted(offered + left_out) == sorted(options())


def test_without_a_gpu_nothing_is_compiled_where_the_model_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variable = "TORCHDYNAMO_DISABLE"
    assert load(ENFORCE_EAGER="1").library_env[variable] == "1"
    assert variable not in load(ENFORCE_EAGER="0").library_env
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    assert variable not in load(ENFORCE_EAGER="1").library_env
