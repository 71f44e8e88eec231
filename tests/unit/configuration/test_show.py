"""What is shown of a configuration, to people who may not know its secrets."""

import json

import pytest

from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.show import effective, masked

CONNECTOR = {"kv_connector": "x", "kv_role": "kv_both"}


def shown(**environ: str) -> dict[str, str]:
    configuration = load_configuration({"MODEL_NAME": "demo"} | environ)
    rows = json.loads(effective(configuration, as_json=True))
    return {name: row["value"] for name, row in rows.items()}


@pytest.mark.parametrize("name", ["token", "api_key", "secret_access_key", "PASSWORD"])
def test_a_secret_in_the_json_of_an_option_is_masked(name: str) -> None:
    options = CONNECTOR | {"kv_connector_extra_config": {"to": [{name: "hunter22", "port": 1}]}}
    text = shown(KV_TRANSFER_CONFIG=json.dumps(options))["KV_TRANSFER_CONFIG"]
    masked = CONNECTOR | {"kv_connector_extra_config": {"to": [{name: "***", "port": 1}]}}
    assert json.loads(text) == masked


def test_the_password_of_a_url_is_masked() -> None:
    options = CONNECTOR | {"kv_connector_extra_config": {"url": "redis://me:hunter22@host:1/2"}}
    text = shown(KV_TRANSFER_CONFIG=json.dumps(options))["KV_TRANSFER_CONFIG"]
    assert json.loads(text)["kv_connector_extra_config"] == {"url": "redis://***@host:1/2"}


@pytest.mark.parametrize(
    "words",
    [
        """--kv-transfer-config '{"kv_connector": "x", "password": "hunter22"}'""",
        """--kv-transfer-config='{"kv_connector": "x", "password": "hunter22"}' --seed 1""",
        "--kv-transfer-config.kv_connector x --kv-transfer-config.password hunter22",
        "--kv-transfer-config.kv_connector=x --kv-transfer-config.password=hunter22",
        "--kv-transfer-config.url redis://me:hunter22@host:1/2",
    ],
)
def test_a_secret_among_the_words_of_a_command_line_is_masked(words: str) -> None:
    shown = masked(words)
    assert "hunter22" not in shown
    assert "***" in shown
    assert "--kv-transfer-config" in shown


def test_other_values_are_as_they_were_given() -> None:
    options = '{"num_speculative_tokens":3, "method":"ngram", "prompt_lookup_max":4}'
    found = shown(SPECULATIVE_CONFIG=options, HF_TOKEN="hf_secret")
    assert found["SPECULATIVE_CONFIG"] == options
    assert found["HF_TOKEN"] == "***"
