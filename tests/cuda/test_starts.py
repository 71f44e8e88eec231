"""Starts of the CUDA build that get as far as a start can get without a GPU.

What vLLM decides before it calls CUDA is what it decides on a machine with GPUs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cuda.starts import NO_GPU, Driver, start
from tests.support import model_configs
from tests.support.small_models import (
    make_embedding_model,
    make_image_text_model,
    make_transcription_model,
)
from vllm_worker.configuration.settings import DEMO_MODEL, load_settings

DEMO_FOLDER = Path(load_settings({"MODEL_NAME": DEMO_MODEL}).model)
MOE = {
    "model_type": "mixtral",
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
FP8 = {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}}
AWQ = {
    "quantization_config": {
        "quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm",
    },
    "torch_dtype": "float16",
}  # fmt: skip


def like_demo(folder: Path, config: dict[str, Any]) -> None:
    """The embedded model's files, with another configuration; nobody gets as far as the weights."""
    folder.mkdir(exist_ok=True)
    for file in DEMO_FOLDER.iterdir():
        (folder / file.name).symlink_to(file)
    given = json.loads((DEMO_FOLDER / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(given | config))


MODELS: dict[str, Callable[[Path], None]] = {
    "Llama": lambda folder: like_demo(folder, {}),
    "Llama 8B": lambda folder: like_demo(folder, model_configs.LLAMA | {"rope_scaling": None}),
    "mixture of experts": lambda folder: like_demo(folder, MOE),
    "FP8": lambda folder: like_demo(folder, FP8),
    "AWQ": lambda folder: like_demo(folder, AWQ),
    "embedding": make_embedding_model,
    "Whisper": make_transcription_model,
    "images": make_image_text_model,
}
SPAWNED = "the engine's processes are spawned, not forked"


@pytest.mark.parametrize("gpus", [1, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_a_start_ends_with_one_line_and_leaves_cuda_to_the_engine(
    kind: str, gpus: int, stand_in: Driver, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    MODELS[kind](model)
    ended = stand_in.start(tmp_path, gpus, MODEL_NAME=str(model))
    assert ended.code == 1, ended.text
    assert NO_GPU in ended.reason
    assert "Traceback" not in ended.text
    assert "deprecated" not in ended.text
    assert ended.callers - {ended.process}
    # FlashInfer calls CUDA when it is imported, which vLLM does for some models in this process.
    assert ended.process not in ended.callers or SPAWNED in ended.text


def test_a_start_without_a_driver_ends_with_one_line(tmp_path: Path) -> None:
    ended = start(tmp_path, {"MODEL_NAME": DEMO_MODEL}, tmp_path / "calls")
    assert ended.code == 1, ended.text
    assert NO_GPU in ended.reason
    assert "Traceback" not in ended.text


@pytest.mark.parametrize(
    ("error", "advice"),
    [("100", NO_GPU), ("35", "newer driver"), ("803", "newer driver"), ("999", "")],
)
def test_what_cuda_says_gets_its_advice(
    error: str, advice: str, stand_in: Driver, tmp_path: Path
) -> None:
    ended = stand_in.start(tmp_path, MODEL_NAME=DEMO_MODEL, STUB_CUDA_ERROR=error)
    assert ended.code == 1, ended.text
    assert advice in ended.reason
    assert "Traceback" not in ended.text


@pytest.mark.parametrize(
    "variables",
    [{"NUMA_BIND": "1"}, {"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}, {"MM_TENSOR_IPC": "torch_shm"}],
    ids=lambda variables: next(iter(variables)),
)
def test_what_vllm_decides_at_the_start_of_a_process_has_its_processes_spawned(
    variables: dict[str, str], stand_in: Driver, tmp_path: Path
) -> None:
    ended = stand_in.start(tmp_path, 1, MODEL_NAME=DEMO_MODEL, **variables)
    assert f"{next(iter(variables))}: {SPAWNED}" in ended.text
    assert ended.code == 1, ended.text
    assert ended.process not in ended.callers
