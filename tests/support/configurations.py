"""Configurations from an environment, and wrong ones with what is said of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_worker.configuration import Configuration, load_configuration
from vllm_worker.errors import ConfigurationError

NAME = {"MODEL_NAME": "org/model"}


ADAPTER = '{"name": "a", "path": "o/x"}'


def load(**environ: str) -> Configuration:
    return load_configuration(NAME | environ)


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load(**environ)
    return raised.value.problems


def write(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


WRONG: list[tuple[dict[str, str], str]] = [
    ({"MAX_NUM_SEQS": "many"}, "MAX_NUM_SEQS='many': must be an integer."),
    ({"GPU_MEMORY_UTILIZATION": "x"}, "GPU_MEMORY_UTILIZATION='x': must be a number."),
    (
        {"GPU_MEMORY_UTILIZATION": "1.5"},
        "GPU_MEMORY_UTILIZATION='1.5': must be above 0 and at most 1.",
    ),
    (
        {"GPU_MEMORY_UTILIZATION": "0"},
        "GPU_MEMORY_UTILIZATION='0': must be above 0 and at most 1.",
    ),
    ({"ENFORCE_EAGER": "maybe"}, "ENFORCE_EAGER='maybe': must be 0, 1, true or false."),
    (
        {"SCHEDULING_POLICY": "lifo"},
        "SCHEDULING_POLICY='lifo': must be one of fcfs, priority.",
    ),
    (
        {"SPECULATIVE_CONFIG": '{"a": }'},
        "SPECULATIVE_CONFIG='{\"a\": }': is not valid JSON: "
        "Expecting value: line 1 column 7 (char 6).",
    ),
    (
        {"STRUCTURED_OUTPUTS_CONFIG": '{"backnd": "guidance", "x": 1}'},
        'STRUCTURED_OUTPUTS_CONFIG=\'{"backnd": "guidance", "x": 1}\': has no field "backnd" '
        '(Did you mean "backend"?); has no field "x".',
    ),
    (
        {"STRUCTURED_OUTPUTS_CONFIG": '{"backend": "outlined"}'},
        'STRUCTURED_OUTPUTS_CONFIG=\'{"backend": "outlined"}\': "backend" must be one of auto, '
        "xgrammar, guidance, outlines, lm-format-enforcer.",
    ),
    (
        {"LORA_MODULES": "[1"},
        "LORA_MODULES='[1': is not valid JSON: Expecting ',' delimiter: line 1 column 3 (char 2).",
    ),
    (
        {"CUSTOM_CHAT_TEMPLATE": "{% if %}"},
        "CUSTOM_CHAT_TEMPLATE='{% if %}': is not a Jinja template: "
        "Expected an expression, got 'end of statement block' (line 1).",
    ),
    (
        {"CUSTOM_CHAT_TEMPLATE": "/no/such.jinja"},
        "CUSTOM_CHAT_TEMPLATE='/no/such.jinja': is neither a Jinja template nor a file, "
        "nor one of vLLM's: basic, blip2, chatml, deepseek_ocr, deepseek_vl2, kimi_audio, "
        "minicpmv45.",
    ),
    (
        {"ALLOWED_MEDIA_DOMAINS": "a.example,https://b.example"},
        "ALLOWED_MEDIA_DOMAINS='a.example,https://b.example': must name hosts, such as "
        "example.com, not 'https://b.example'.",
    ),
    (
        {"TOOL_PARSER_PLUGIN": "/no/such.py"},
        "TOOL_PARSER_PLUGIN='/no/such.py': is not a file.",
    ),
    (
        {"WORKER_CONFIG_FILE": "/no/such.yaml"},
        "WORKER_CONFIG_FILE='/no/such.yaml': cannot be read: No such file or directory.",
    ),
    (
        {"ENABLE_AUTO_TOOL_CHOICE": "1"},
        "ENABLE_AUTO_TOOL_CHOICE needs TOOL_CALL_PARSER, such as hermes or llama3_json.",
    ),
    (
        {"METRICS_PORT": "8000"},
        "METRICS_PORT=8000 is also PORT, on which requests come in. Set another.",
    ),
    (
        {"PORT_HEALTH": "9001", "METRICS_PORT": "9001"},
        "METRICS_PORT=9001 is also PORT_HEALTH, on which requests come in. Set another.",
    ),
    (
        {"ALLOWED_ORIGINS": "[x"},
        "ALLOWED_ORIGINS='[x': is not valid JSON: Expecting value: line 1 column 2 (char 1).",
    ),
    (
        {"API_KEY": '["a-secret"'},
        "API_KEY='***': is not valid JSON: Expecting ',' delimiter: line 1 column 12 (char 11).",
    ),
    (
        {"PORT": "9000", "METRICS_PORT": "9000"},
        "METRICS_PORT=9000 is also PORT, on which requests come in. Set another.",
    ),
    (
        {"METRICS_PORT": "70000"},
        "METRICS_PORT='70000': must be less than or equal to 65535.",
    ),
    (
        {"DEFAULT_MIN_BATCH_SIZE": "60"},
        "DEFAULT_MIN_BATCH_SIZE=60 is above DEFAULT_BATCH_SIZE=50.",
    ),
    (
        {"DEFAULT_BATCH_SIZE_GROWTH_FACTOR": "1"},
        "DEFAULT_BATCH_SIZE_GROWTH_FACTOR=1: chunks of 1 would never grow to "
        "DEFAULT_BATCH_SIZE=50. Set both sizes alike, or a larger factor.",
    ),
    (
        {"STREAM_MAX_DELAY_MS": "soon"},
        "STREAM_MAX_DELAY_MS='soon': must be a valid integer, "
        "unable to parse string as an integer.",
    ),
    ({"VLLM_EXTRA_ARGS": "--x 'y"}, "VLLM_EXTRA_ARGS: No closing quotation."),
    ({"VLLM_EXTRA_ARGS": "--nope=1"}, "VLLM_EXTRA_ARGS: vLLM 0.32.0 has no option --nope."),
    (
        {"VLLM_EXTRA_ARGS": "--hf-token hf_secret"},
        "VLLM_EXTRA_ARGS: --hf-token cannot be set: "
        "huggingface_hub reads HF_TOKEN itself, so that the token is in no argument.",
    ),
    (
        {"MAX_MODEL_LEN": "long"},
        "MAX_MODEL_LEN='long': must be an integer, such as 8192 or 8k.",
    ),
    (
        {"LIMIT_MM_PER_PROMPT": "image"},
        "LIMIT_MM_PER_PROMPT='image': is not valid JSON: "
        "Expecting value: line 1 column 1 (char 0).",
    ),
    ({"HF_OVERRIDES": "[1]"}, "HF_OVERRIDES='[1]': must be a JSON object."),
    (
        {"LORA_MODULES": "a=/no/such"},
        "LORA_MODULES: adapter 1 (a): /no/such is not a folder.",
    ),
    (
        {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": ","},
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE=',': must be one or more comma-separated names.",
    ),
    ({"MODEL_NAME": "/no/such/model"}, "MODEL_NAME='/no/such/model': is not a folder."),
    (
        {"MAX_CONCURRENCY": "0"},
        "MAX_CONCURRENCY='0': must be greater than or equal to 1.",
    ),
]
