"""Environment variables as arguments of the installed vLLM."""

from typing import Any

import pytest

from vllm_worker.engine_args import parse_engine_args
from vllm_worker.errors import ConfigurationError
from vllm_worker.settings import load_settings


def parse(**environ: str) -> Any:
    return parse_engine_args(load_settings(environ), environ)


def test_the_settings_name_the_model_and_what_belongs_to_it() -> None:
    arguments = parse(
        MODEL_NAME="org/model",
        OPENAI_SERVED_MODEL_NAME_OVERRIDE="mine",
        OPENAI_RESPONSE_ROLE="helper",
        CUSTOM_CHAT_TEMPLATE="{{ messages }}",
    )
    assert arguments.model == "org/model"
    assert arguments.served_model_name == ["mine"]
    assert arguments.response_role == "helper"
    assert arguments.chat_template == "{{ messages }}"
    assert parse(MODEL_NAME="org/model").served_model_name == ["org/model"]


@pytest.mark.parametrize(
    ("name", "value", "dest", "expected"),
    [
        ("MAX_MODEL_LEN", "8k", "max_model_len", 8000),
        ("GPU_MEMORY_UTILIZATION", "0.8", "gpu_memory_utilization", 0.8),
        ("DTYPE", "bfloat16", "dtype", "bfloat16"),
        ("ENFORCE_EAGER", "1", "enforce_eager", True),
        ("ENABLE_PREFIX_CACHING", "false", "enable_prefix_caching", False),
        ("DISABLE_LOG_STATS", "true", "disable_log_stats", True),
        ("DISABLE_LOG_STATS", "0", "disable_log_stats", False),
        ("HF_OVERRIDES", '{"a": 1}', "hf_overrides", {"a": 1}),
        ("ALLOWED_MEDIA_DOMAINS", "a.com,b.com", "allowed_media_domains", ["a.com", "b.com"]),
        ("TOKENIZER_NAME", "org/tokenizer", "tokenizer", "org/tokenizer"),
        ("MODEL_REVISION", "abc", "revision", "abc"),
        ("SEED", "-1", "seed", -1),
    ],
)
def test_an_option_is_set_by_its_upper_cased_name(
    name: str, value: str, dest: str, expected: Any
) -> None:
    assert getattr(parse(MODEL_NAME="org/model", **{name: value}), dest) == expected


def test_what_belongs_to_an_http_server_is_left_alone() -> None:
    arguments = parse(MODEL_NAME="org/model", HOST="0.0.0.0", PORT="1234", API_KEY="secret")
    assert (arguments.host, arguments.port, arguments.api_key) == (None, 8000, None)


def test_the_embedded_model_calls_tools_and_starts_quickly_unless_told_otherwise() -> None:
    assert parse().enforce_eager
    assert parse().tool_call_parser == "hermes"
    assert not parse(ENFORCE_EAGER="0").enforce_eager
    assert not parse(MODEL_NAME="org/model").enforce_eager


def test_every_mistake_is_named() -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(MAX_MODEL_LEN="long", ENFORCE_EAGER="maybe", DTYPE="float3")
    dtype, eager, length = raised.value.mistakes
    assert dtype.startswith("DTYPE='float3': invalid choice")
    assert eager == "ENFORCE_EAGER='maybe': must be 0, 1, true or false"
    assert length.startswith("MAX_MODEL_LEN='long': ")


def test_options_that_contradict_each_other_are_named() -> None:
    with pytest.raises(ConfigurationError, match="tool-call-parser"):
        parse(MODEL_NAME="org/model", ENABLE_AUTO_TOOL_CHOICE="1")
