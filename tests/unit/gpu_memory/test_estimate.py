"""What a model takes of a GPU, reckoned from the config.json of well-known models."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_configs import LLAMA, QWEN
from vllm_worker.configuration import load_configuration
from vllm_worker.configuration.model_files import read_model, weights_of
from vllm_worker.errors import ConfigurationError
from vllm_worker.gpu_memory.estimate import GB, GIB, Model, read_options
from vllm_worker.machine import commands

DEEPSEEK = LLAMA | {
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "hidden_size": 7168,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
}
# Of the 4B model; heads and lengths are not in the file.
GEMMA = {
    "model_type": "gemma3",
    "torch_dtype": "bfloat16",
    "vision_config": {"hidden_size": 1152},
    "text_config": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "sliding_window": 1024,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    },
}
GPT2 = {
    "model_type": "gpt2",
    "n_layer": 12,
    "n_head": 12,
    "n_embd": 768,
    "n_positions": 1024,
    "vocab_size": 50257,
}
QWEN_NEXT = LLAMA | {
    "model_type": "qwen3_next",
    "num_hidden_layers": 48,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return write(tmp_path, LLAMA, 16 * GB)


def write(folder: Path, config: Any, total_size: int = 1000) -> Path:
    """A model without its weights, whose index says how large they are."""
    (folder / "config.json").write_text(json.dumps(config))
    index = {"metadata": {"total_size": total_size}, "weight_map": {"a": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def weigh(folder: Path, **environ: str) -> Model:
    """As on a machine with one GPU."""
    one = {"MODEL_NAME": str(folder), "CUDA_VISIBLE_DEVICES": "0"}
    configuration = load_configuration(one | environ)
    return Model(read_model(configuration.model, None), read_options(configuration))


# The KV cache of a token


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(LLAMA, 131_072, id="Llama-3.1-8B"),
        pytest.param(QWEN, 114_688, id="Qwen3-0.6B"),
        pytest.param(DEEPSEEK, 61 * (512 + 64) * 2, id="DeepSeek-V3"),
        pytest.param(GPT2, 12 * 2 * 768 * 2, id="GPT-2"),
        pytest.param(QWEN_NEXT, 12 * 2 * 2 * 256 * 2, id="Qwen3-Next"),
        # 5 layers see all and 29 a window: vLLM makes groups of 5, and fills the last one up.
        pytest.param(GEMMA, (5 + 30) * 2 * 4 * 256 * 2, id="Gemma-3-4B"),
        pytest.param(LLAMA | {"text_config": QWEN}, 114_688, id="nested"),
        pytest.param(LLAMA | {"num_key_value_heads": None}, 4 * 131_072, id="no grouped heads"),
        pytest.param(LLAMA | {"multi_query": True}, 131_072 // 8, id="Falcon"),
        pytest.param(LLAMA | {"model_type": "modernbert"}, 0, id="encoder"),
    ],
)
def test_the_cache_of_a_token(tmp_path: Path, config: Any, expected: int) -> None:
    assert weigh(write(tmp_path, config)).token_bytes == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"KV_CACHE_DTYPE": "fp8"}, 65_536),
        ({"KV_CACHE_DTYPE": "nvfp4"}, 131_072 * 9 // 32),
        ({"DTYPE": "float32"}, 262_144),
        ({"DTYPE": "float32", "KV_CACHE_DTYPE": "bfloat16"}, 131_072),
        ({"TENSOR_PARALLEL_SIZE": "2"}, 65_536),
        ({"TENSOR_PARALLEL_SIZE": "16"}, 16_384),  # no GPU has less than one head
        ({"PIPELINE_PARALLEL_SIZE": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, 65_536),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 32_768),
        ({"VLLM_EXTRA_ARGS": "--kv-cache-dtype fp8 -tp 2", "KV_CACHE_DTYPE": "auto"}, 32_768),
        ({"HF_OVERRIDES": '{"num_hidden_layers": 16}'}, 65_536),
    ],
)
def test_what_the_configuration_makes_of_it(
    model_folder: Path, environ: dict[str, str], expected: int
) -> None:
    assert weigh(model_folder, **environ).token_bytes == expected


def test_latent_vectors_are_on_every_gpu(tmp_path: Path) -> None:
    folder = write(tmp_path, DEEPSEEK)
    whole = weigh(folder).token_bytes
    assert weigh(folder, TENSOR_PARALLEL_SIZE="8").token_bytes == whole
    assert weigh(folder, KV_CACHE_DTYPE="fp8").token_bytes == whole // 2


@pytest.mark.parametrize(
    "scheme", [{"kv_cache_scheme": {"num_bits": 8}}, {"kv_cache_quant_algo": "FP8"}]
)
def test_a_model_may_ask_for_a_smaller_cache(tmp_path: Path, scheme: Any) -> None:
    folder = write(tmp_path, LLAMA | {"quantization_config": scheme})
    assert weigh(folder).token_bytes == 65_536
    assert weigh(folder, KV_CACHE_DTYPE="bfloat16").token_bytes == 131_072


# Requests


def test_a_request_takes_a_token_s_bytes_for_each_token(model_folder: Path) -> None:
    model = weigh(model_folder, MAX_MODEL_LEN="8k")
    assert model.length == 8000
    assert model.request_bytes(8000, 2048) == 8000 * 131_072


def test_a_sliding_window_holds_the_window_and_what_is_under_way(tmp_path: Path) -> None:
    model = weigh(write(tmp_path, GEMMA))
    a_layer = 2 * 4 * 256 * 2
    assert model.length == 131_072
    under_way = 1024 + 2 * 2048 + 16
    assert model.request_bytes(10**5, 2048) == (5 * 10**5 + 30 * under_way) * a_layer
    assert model.request_bytes(160, 2048) == (5 * 160 + 30 * (160 + 16)) * a_layer


def test_a_window_as_the_engine_reckons_it(tmp_path: Path) -> None:
    """The CPU build of vLLM 0.32 with this configuration said 118,149 tokens and 14.42 requests."""
    layers = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    layers |= {"num_hidden_layers": 13, "sliding_window": 512, "hidden_size": 256}
    text_config: Any = GEMMA["text_config"]
    config = text_config | layers
    given = {"BLOCK_SIZE": "128", "ASYNC_SCHEDULING": "0", "MAX_NUM_BATCHED_TOKENS": "1024"}
    given |= {"MAX_MODEL_LEN": "8192", "KV_CACHE_MEMORY_BYTES": "268435456"}
    row = weigh(write(tmp_path, config), **given).row(24)
    assert row.tokens == 118_149
    assert row.requests == 2048 / 142


def test_a_state_is_of_one_size(tmp_path: Path) -> None:
    model = weigh(write(tmp_path, QWEN_NEXT))
    state = (2 * 2048 + 4096) * 3 * 2 + 32 * 128 * 128 * 2
    assert model.request_bytes(16, 2048) == 36 * state + 16 * model.token_bytes
    assert model.request_bytes(1600, 2048) == 36 * state + 1600 * model.token_bytes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 131_072),
        ({"rope_scaling": None}, 131_072),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 262_144),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 131_072),
        ({"max_position_embeddings": None}, 2048),
    ],
)
def test_the_model_s_own_length(tmp_path: Path, change: Any, expected: int) -> None:
    assert weigh(write(tmp_path, LLAMA | change)).length == expected


# A GPU


def test_what_fits_in_a_gpu(model_folder: Path) -> None:
    row = weigh(model_folder, MAX_MODEL_LEN="8192", ENFORCE_EAGER="1").row(24)
    assert (row.usable, row.weights) == (int(24 * GB * 0.95), 16 * GB)
    assert 0.5 * GB < row.other < 1.5 * GB
    assert row.cache == row.usable - row.weights - row.other
    assert row.requests == row.cache / (8192 * 131_072)
    assert row.tokens == row.cache // 131_072
    assert row.longest == 8192


def test_graphs_and_longer_steps_leave_less(model_folder: Path) -> None:
    def other(**environ: str) -> int:
        return weigh(model_folder, **environ).row(24).other

    assert other(ENFORCE_EAGER="1") < other() < other(MAX_NUM_BATCHED_TOKENS="16k")
    assert other() < weigh(model_folder).row(80).other  # where vLLM's steps are longer


def test_a_request_that_does_not_fit(model_folder: Path) -> None:
    row = weigh(model_folder).row(24)
    assert 0 < row.requests < 1
    assert row.tokens == row.cache // 131_072
    assert row.longest == row.tokens // 16 * 16  # whole blocks


def test_weights_that_do_not_fit_and_those_that_stay_in_main_memory(model_folder: Path) -> None:
    assert weigh(model_folder).row(16).cache < 0
    row = weigh(model_folder, CPU_OFFLOAD_GB="8").row(16)
    assert row.weights == 16 * GB - 8 * GIB
    assert row.cache > 0


def test_a_cache_of_a_given_size(model_folder: Path) -> None:
    model = weigh(model_folder, KV_CACHE_MEMORY_BYTES="2G", MAX_MODEL_LEN="4096")
    assert model.row(24).cache == model.row(80).cache == 2 * GIB
    assert model.row(24).requests == 4
    assert model.row(19).cache < 0


def test_several_gpus_hold_more_than_one(model_folder: Path) -> None:
    one, two = weigh(model_folder), weigh(model_folder, TENSOR_PARALLEL_SIZE="2")
    assert two.gpus == 2
    assert two.row(24).weights == 8 * GB
    assert two.row(24).tokens > 5 * one.row(24).tokens


# Weights


def test_weights_are_cast_or_quantized_while_they_are_loaded(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, 16 * GB)
    embeddings = 2 * 128256 * 4096 * 2
    assert weigh(folder, DTYPE="float32").weights == 32 * GB
    small = weigh(folder, QUANTIZATION="fp8_per_tensor").weights
    assert small == embeddings + (16 * GB - embeddings) // 2
    assert weigh(folder, QUANTIZATION="fp8").weights == small
    write(tmp_path, LLAMA | {"torch_dtype": "float32"}, 32 * GB)
    assert weigh(folder).weights == 16 * GB
    write(tmp_path, LLAMA | {"quantization_config": {"quant_method": "fp8"}}, 9 * GB)
    assert weigh(folder, QUANTIZATION="fp8").weights == 9 * GB


def test_the_sizes_of_files_win_over_the_index(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, 16)
    assert read_model(str(folder), None).weights == 16
    (folder / "model-1.safetensors").write_bytes(b"123")
    (folder / "other.safetensors").write_bytes(b"12345")
    assert read_model(str(folder), None).weights == 3


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"model.safetensors": 7, "pytorch_model.bin": 8}, 7),
        ({"a-1.safetensors": 1, "a-2.safetensors": 2, "consolidated.safetensors": 3}, 3),
        ({"consolidated.safetensors": 3, "config.json": 1}, 3),
        ({"pytorch_model.bin": 8, "training_args.bin": 1, "original/a.safetensors": 9}, 8),
        ({"README.md": 1}, 0),
    ],
)
def test_which_files_are_weights(sizes: dict[str, int], expected: int) -> None:
    assert weights_of(sizes, {}) == expected


# Problems


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (LLAMA | {"num_hidden_layers": None}, "num_hidden_layers must be an integer, not None"),
        (LLAMA | {"layer_types": ["full_attention", "quantum"]}, "layers of the kind 'quantum'"),
        (LLAMA | {"is_encoder_decoder": True}, "encoder-decoder models"),
        ([1], "must hold a JSON object"),
    ],
)
def test_a_model_that_is_not_known(tmp_path: Path, config: Any, says: str) -> None:
    write(tmp_path, config)
    with pytest.raises(ConfigurationError, match=says):
        weigh(tmp_path).row(24)


def test_a_value_that_is_not_known(model_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="KV_CACHE_DTYPE=turboquant_4bit_nc"):
        weigh(model_folder, KV_CACHE_DTYPE="turboquant_4bit_nc").row(24)
    with pytest.raises(ConfigurationError, match=r"VLLM_EXTRA_ARGS: .*invalid int value"):
        weigh(model_folder, VLLM_EXTRA_ARGS="-tp two")


# The command


def run(monkeypatch: pytest.MonkeyPatch, *words: str, **environ: str) -> int:
    monkeypatch.setattr("os.environ", {"BASE_PATH": "/no/such"} | environ)
    return commands.main(["config", *words])


def test_the_table_has_a_line_for_each_gpu(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--memory", MODEL_NAME=str(model_folder)) == 0
    said = capsys.readouterr().out
    assert "131,072 bytes a token" in said
    assert "16.00 GB, by model.safetensors.index.json" in said
    (small,) = [line for line in said.splitlines() if line.startswith("16 GB")]
    assert "GB are missing" in small
    (middle,) = [line for line in said.splitlines() if line.startswith("24 GB")]
    assert "MAX_MODEL_LEN can be" in middle
    assert "180 GB" in said


def test_one_size_and_two_gpus_for_a_program(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = {"MODEL_NAME": str(model_folder), "TENSOR_PARALLEL_SIZE": "2"}
    assert run(monkeypatch, "--memory", "24", "--json", **two) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kv_cache_bytes_per_token"] == 65_536
    assert said["gpus_per_model"] == 2
    (gpu,) = said["gpus"]
    assert gpu["gpu"] == 24
    assert gpu["weights"] == 8 * GB


def test_what_is_not_counted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gemma = {"MODEL_NAME": str(write(tmp_path, GEMMA)), "ENABLE_LORA": "1"}
    assert run(monkeypatch, "--memory", "24", **gemma) == 0
    said = capsys.readouterr().out
    assert "Not counted: adapters, what images, videos or audios need at a time." in said
    assert "30 layers of attention in a sliding window of 1,024" in said


def test_a_folder_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--memory", "24", MODEL_NAME=str(tmp_path)) == 2
    assert capsys.readouterr().err == f"{tmp_path} has no config.json.\n"


@pytest.mark.parametrize("size", ["0", "-1", "x", "nan"])
def test_a_size_that_is_none(
    size: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, f"--memory={size}", MODEL_NAME="demo")
    assert "must be a number of GB" in capsys.readouterr().err
