"""The configuration as arguments of the installed vLLM."""

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm.entrypoints.openai.models.protocol import LoRAModulePath

from vllm_worker.configuration import adapters, load_configuration
from vllm_worker.configuration.catalogue import Variable, catalogue, not_offered, picture, words
from vllm_worker.engine import args
from vllm_worker.engine.args import (
    avoid_slow_bfloat16,
    describe_options,
    make_parser,
    parse_engine_args,
)
from vllm_worker.errors import ConfigurationError, StartFailure


def parse(**environ: str) -> Any:
    return parse_engine_args(load_configuration({"MODEL_NAME": "org/model"} | environ))


# The table of the seed worker: each row's effect on the arguments or the settings.
DOCUMENTED_OPTIONS = [
    ("MODEL_NAME", "org/other", "model", "org/other"),
    ("MODEL_REVISION", "abc", "revision", "abc"),
    ("MAX_MODEL_LEN", "4096", "max_model_len", 4096),
    ("LOAD_FORMAT", "safetensors", "load_format", "safetensors"),
    ("QUANTIZATION", "awq", "quantization", "awq"),
    ("TRUST_REMOTE_CODE", "1", "trust_remote_code", True),
    ("SEED", "7", "seed", 7),
    ("KV_CACHE_DTYPE", "fp8_e5m2", "kv_cache_dtype", "fp8_e5m2"),
    ("DTYPE", "half", "dtype", "half"),
    ("TOKENIZER_NAME", "org/tokenizer", "tokenizer", "org/tokenizer"),
    ("TOKENIZER_REVISION", "abc", "tokenizer_revision", "abc"),
    ("CUSTOM_CHAT_TEMPLATE", "{{ messages }}", "chat_template", "{{ messages }}"),
    ("GPU_MEMORY_UTILIZATION", "0.8", "gpu_memory_utilization", 0.8),
    ("MAX_PARALLEL_LOADING_WORKERS", "2", "max_parallel_loading_workers", 2),
    ("BLOCK_SIZE", "32", "block_size", 32),
    ("ENFORCE_EAGER", "1", "enforce_eager", True),
    ("DISABLE_CUSTOM_ALL_REDUCE", "1", "disable_custom_all_reduce", True),
    ("OPENAI_SERVED_MODEL_NAME_OVERRIDE", "a, team/b", "served_model_name", ["a", "team/b"]),
    ("OPENAI_RESPONSE_ROLE", "helper", "response_role", "helper"),
    ("DISABLE_LOG_STATS", "0", "disable_log_stats", False),
    ("DISABLE_LOG_REQUESTS", "0", "enable_log_requests", True),
]
DOCUMENTED_SETTINGS = [
    ("BASE_PATH", "/models", "base_path", "/models"),
    ("DEFAULT_BATCH_SIZE", "20", "default_batch_size", 20),
    ("DEFAULT_MIN_BATCH_SIZE", "2", "default_min_batch_size", 2),
    ("DEFAULT_BATCH_SIZE_GROWTH_FACTOR", "1.5", "default_batch_size_growth_factor", 1.5),
    ("RAW_OPENAI_OUTPUT", "0", "raw_openai_output", False),
    ("MAX_CONCURRENCY", "7", "max_concurrency", 7),
]
SEED_DEFAULTS = {
    "load_format": "auto",
    "trust_remote_code": False,
    "seed": 0,
    "kv_cache_dtype": "auto",
    "dtype": "auto",
    "gpu_memory_utilization": 0.95,
    "enforce_eager": False,
    "disable_custom_all_reduce": False,
    "response_role": "assistant",
    "disable_log_stats": True,
    "enable_log_requests": False,
}
DOCUMENTED_AND_GONE = ["SWAP_SPACE", "MAX_CONTEXT_LEN_TO_CAPTURE"]


@pytest.mark.parametrize(("name", "text", "option", "expected"), DOCUMENTED_OPTIONS)
def test_a_row_of_the_seeds_table_reaches_the_engine(
    name: str, text: str, option: str, expected: Any
) -> None:
    arguments = parse(**{name: text})
    assert getattr(arguments, option) == expected
    assert getattr(parse(), option) != expected


@pytest.mark.parametrize(("name", "text", "setting", "expected"), DOCUMENTED_SETTINGS)
def test_a_row_of_the_seeds_table_reaches_the_settings(
    name: str, text: str, setting: str, expected: Any
) -> None:
    environ = {"MODEL_NAME": "org/model"}
    assert getattr(load_configuration(environ | {name: text}).settings, setting) == expected
    assert getattr(load_configuration(environ).settings, setting) != expected


@pytest.mark.parametrize("name", DOCUMENTED_AND_GONE)
def test_a_row_that_vllm_no_longer_has_is_accepted_with_a_line(name: str) -> None:
    (note,) = load_configuration({name: "1"}).notes
    assert note.startswith(f"{name}=1 has no effect: vLLM ")


def test_the_seeds_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_worker.configuration.load.count_gpus", lambda environ: 1)
    arguments = parse()
    assert {name: getattr(arguments, name) for name in SEED_DEFAULTS} == SEED_DEFAULTS


# Every option of vLLM

# A value for those whose type alone does not tell one.
SPECIAL: dict[str, str] = {
    "LORA_MODULES": '{"name": "a", "path": "org/a"}',
    "ATTENTION_CONFIG": '{"backend": "FLASH_ATTN"}',
    "AUX_OUTPUT_CONFIG": '{"max_bytes": 5}',
    "EC_MANAGER_CONFIG": '{"encoder_cache_manager_cls": "a.B"}',
    "EC_TRANSFER_CONFIG": '{"ec_connector": "x", "ec_role": "ec_producer"}',
    "ENGRAM_CONFIG": '{"use_thp": true}',
    "EPLB_CONFIG": '{"window_size": 77}',
    "FAULT_TOLERANCE_CONFIG": '{"engine_recovery_timeout_sec": 77}',
    "IR_OP_PRIORITY": '{"rms_norm": ["native"]}',
    "KERNEL_CONFIG": '{"moe_backend": "triton"}',
    "KV_EVENTS_CONFIG": '{"publisher": "zmq"}',
    "LOGGING_CONFIG": '{"log_level": "DEBUG"}',
    "POOLER_CONFIG": '{"pooling_type": "CLS"}',
    "PROFILER_CONFIG": '{"max_iterations": 7}',
    "QUANTIZATION_CONFIG": '{"ignore": ["lm_head"]}',
    "REASONING_CONFIG": '{"reasoning_start_str": "<t>"}',
    "WEIGHT_TRANSFER_CONFIG": '{"backend": "nccl"}',
    "LOG_CONFIG_FILE": "/a.json",
    "BLOCK_SIZE": "96",
    "DEVICE_IDS": "3",
    "COMPILATION_CONFIG": '{"mode": 3}',
    "STRUCTURED_OUTPUTS_CONFIG": '{"backend": "xgrammar"}',
    "SPECULATIVE_CONFIG": '{"model": "ngram", "num_speculative_tokens": 2}',
    "KV_TRANSFER_CONFIG": '{"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}',
    "MAMBA_BACKEND": "flashinfer",
    "OPTIMIZATION_LEVEL": "3",
    "TOOL_CALL_PARSER": "hermes",
    "TOOL_PARSER_PLUGIN": __file__,
    "REASONING_PARSER_PLUGIN": __file__,
    "ATTENTION_BACKEND": "FLASH_ATTN",
    "MAX_LORA_RANK": "64",
}


# What a variable cannot be set without.
COMPANIONS = {"ENABLE_AUTO_TOOL_CHOICE": {"TOOL_CALL_PARSER": "hermes"}}

BY_TYPE = {"integer": "3", "number": "0.25", "size": "4k", "JSON": '{"a": 1}', "list": "1,2"}


def valid_value(variable: Variable) -> str:
    """A value that is not the default."""
    if variable.name in SPECIAL:
        return SPECIAL[variable.name]
    if variable.choices:
        return next(choice for choice in variable.choices if choice != variable.default)
    if variable.type == "boolean":
        return "0" if variable.default == "1" else "1"
    return BY_TYPE.get(variable.type, "some-text")


def vllm_variables() -> list[Variable]:
    return [variable for variable in catalogue().values() if variable.option]


def found(variable: Variable, text: str, value: Any) -> bool:
    """Whether a parsed value is what the text says."""
    match variable.type:
        case "boolean":
            return value is (text == "1")
        case "integer" | "number":
            return value == float(text)
        case "size":
            return value == 4000
        case "list" if variable.name != "LORA_MODULES":
            return value != [] and all(str(item).strip("'") in text for item in value)
    if text.startswith("{"):
        return all(str(part) in str(value) for part in json.loads(text).values())
    return text in str(getattr(value, "value", value))


@pytest.mark.parametrize("variable", vllm_variables(), ids=lambda variable: variable.name)
@pytest.mark.snapshot
def test_an_option_of_vllm_is_set_by_its_variable(
    variable: Variable, parser: argparse.ArgumentParser
) -> None:
    text = valid_value(variable)
    environ = {"MODEL_NAME": "org/model", variable.name: text}
    configuration = load_configuration(environ | COMPANIONS.get(variable.name, {}))
    words = [word for _, option in configuration.options() for word in option]
    arguments = parser.parse_args(words)
    assert found(variable, text, getattr(arguments, str(variable.option)))


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return make_parser()


@pytest.mark.snapshot
def test_each_option_is_offered_or_left_out_for_a_reason() -> None:
    offered = {variable.option for variable in vllm_variables()}
    assert offered | not_offered().keys() == describe_options()["options"].keys()
    assert all(len(reason) > 10 for reason in words()["not_offered"])


@pytest.mark.snapshot
def test_the_picture_of_the_parser_is_that_of_the_installed_vllm() -> None:
    assert describe_options() == picture()


def test_an_adapter_may_have_what_vllm_takes() -> None:
    assert [field.name for field in fields(LoRAModulePath)] == list(adapters.KEYS)


# Problems that only vLLM sees


def test_what_belongs_to_an_http_server_is_left_alone() -> None:
    arguments = parse(HOST="0.0.0.0", PORT="1234", API_KEY="secret")
    assert (arguments.host, arguments.port, arguments.api_key) == (None, 8000, None)


def test_the_embedded_model_calls_tools_and_starts_quickly_unless_told_otherwise() -> None:
    assert parse(MODEL_NAME="demo").enforce_eager
    assert parse(MODEL_NAME="demo").tool_call_parser == "hermes"
    assert not parse(MODEL_NAME="demo", ENFORCE_EAGER="0").enforce_eager


def test_what_vllms_parser_refuses_is_named() -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(POOLER_CONFIG='{"nor_this": 1}', KV_TRANSFER_CONFIG='{"no_such_field": 1}')
    pooler, transfer = sorted(raised.value.problems, reverse=True)
    assert pooler.startswith("POOLER_CONFIG=")
    assert "nor_this" in pooler
    assert transfer.startswith("KV_TRANSFER_CONFIG=")
    assert "no_such_field" in transfer


def test_extra_arguments_that_vllm_does_not_know_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"VLLM_EXTRA_ARGS: .*--no-such-flag"):
        parse(VLLM_EXTRA_ARGS="--no-such-flag=1")


def test_a_plugin_brings_a_parser_along(tmp_path: Path) -> None:
    plugin = Path(__file__).parents[1] / "support/tool_parser_plugin.py"
    given = {"ENABLE_AUTO_TOOL_CHOICE": "1", "TOOL_PARSER_PLUGIN": str(plugin)}
    assert parse(**given, TOOL_CALL_PARSER="mine").tool_call_parser == "mine"
    with pytest.raises(ConfigurationError, match="TOOL_CALL_PARSER='yours': must be one of "):
        parse(**given, TOOL_CALL_PARSER="yours")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
        parse(REASONING_PARSER="mine", REASONING_PARSER_PLUGIN=str(broken))


def test_a_build_for_gpus_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What vLLM's CUDA build does, which makes its configuration for the sake of the defaults."""

    def make_arg_parser(_: argparse.ArgumentParser) -> None:
        raise RuntimeError("Failed to infer device type, please set …")

    monkeypatch.setattr(args, "find", lambda _: make_arg_parser)
    with pytest.raises(StartFailure, match="No GPU can be used"):
        parse()


@pytest.fixture
def without_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)


def chosen_dtype(**environ: str) -> str:
    arguments = parse(**environ)
    avoid_slow_bfloat16(arguments)
    return str(arguments.dtype)


@pytest.mark.usefixtures("without_avx512")
def test_a_cpu_that_is_slow_at_bfloat16_computes_in_float32(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    assert chosen_dtype(MODEL_NAME=str(tmp_path)) == "float32"
    assert chosen_dtype(DTYPE="bfloat16") == "bfloat16"


@pytest.mark.usefixtures("without_avx512")
def test_a_quantized_model_keeps_its_own_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "awq"}}')
    assert chosen_dtype(MODEL_NAME=str(tmp_path)) == "auto"
    assert chosen_dtype(QUANTIZATION="awq") == "auto"


def test_a_cpu_with_avx512_leaves_the_type_to_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert chosen_dtype() == "auto"
