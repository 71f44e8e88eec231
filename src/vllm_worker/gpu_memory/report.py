"""`config --memory`: what the configured model takes of GPUs, for people and programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from vllm_worker.configuration.model_files import read_model
from vllm_worker.configuration.show import table
from vllm_worker.gpu_memory.estimate import GB, Model, Row, read_options
from vllm_worker.gpu_memory.model_shape import Kind

if TYPE_CHECKING:
    from vllm_worker.configuration import Configuration

RUNPOD_SIZES = (16, 24, 32, 48, 80, 96, 141, 180)
"""Memory of RunPod's usual GPUs in GB."""

_HEAD = ("GPU", "usable", "weights", "other", "KV cache", "tokens", "requests at their longest")
_LEGEND = """\
GB is 10^9 bytes; the figures of a row are for each GPU, tokens and requests for the model.
usable is GPU_MEMORY_UTILIZATION of the GPU. other is an estimate: activations of one step, CUDA
graphs, libraries. This is arithmetic: vLLM measures at its start, and has the last word."""


def report(configuration: "Configuration", sizes: Sequence[float], as_json: bool = False) -> str:
    """Memory that the configured model takes on GPUs of these sizes, in GB.

    Raises ConfigurationError if the model cannot be had, or is of a kind that is not known here.
    """
    options = read_options(configuration)
    model = Model(read_model(configuration.model, options.revision), options)
    rows = [model.row(size) for size in sizes]
    if as_json:
        facts = {
            "weights_bytes": model.weights,
            "kv_cache_bytes_per_token": model.token_bytes,
            "max_model_len": model.length,
            "gpus_per_model": model.gpus,
        }
        return json.dumps(facts | {"gpus": [asdict(row) for row in rows]}, indent=2)
    results = table([_HEAD, *(_cells(model, row) for row in rows)])
    return "\n\n".join(
        [table(_facts(configuration.model, model)), results, *_notes(model), _LEGEND]
    )


def _facts(name: str, model: Model) -> list[tuple[str, ...]]:
    weights = f"{_gb(model.weights)} GB, {model.files.source}"
    if model.weights != model.files.weights:
        weights = f"{_gb(model.weights)} GB once loaded; {_gb(model.files.weights)} GB as they are"
    kinds = ", ".join(
        f"{part.count} layers of {part.kind.value}"
        + (f" of {part.window:,}" if part.window else "")
        for part in model.layers
    )
    rows: list[tuple[str, ...]] = [
        ("model", name),
        ("weights", weights),
        (
            "KV cache",
            f"{model.token_bytes:,} bytes a token (KV_CACHE_DTYPE={model.kv_dtype}); {kinds}",
        ),
        ("longest request", f"{model.length:,} tokens (MAX_MODEL_LEN)"),
    ]
    if model.gpus > 1:
        rows.append(("GPUs", f"{model.gpus} for one copy of the model"))
    return rows


def _cells(model: Model, row: Row) -> tuple[str, ...]:
    sizes = (row.usable, row.weights, row.other)
    label = f"{model.gpus} x {row.gpu:g} GB" if model.gpus > 1 else f"{row.gpu:g} GB"
    cells = (label, *map(_gb, sizes))
    if row.cache <= 0:
        return (*cells, "-", "-", f"none: {_gb(-row.cache)} GB are missing on each GPU")
    if not model.token_bytes:
        return (*cells, _gb(row.cache), "-", "needs no KV cache")
    requests = f"{row.requests:.1f}"
    if row.requests < 1:
        requests = f"none: MAX_MODEL_LEN can be {row.longest:,} at most"
    return (*cells, _gb(row.cache), f"{row.tokens:,}", requests)


def _notes(model: Model) -> list[str]:
    """Parts of the model or the configuration that the figures leave out."""
    options, config = model.options, model.files.config
    given = {
        "the draft model of SPECULATIVE_CONFIG": options.speculative_config,
        "adapters": options.enable_lora,
        "what images, videos or audios need at a time": any(
            isinstance(config.get(name), dict) for name in ("vision_config", "audio_config")
        ),
        "the state of its layers without attention": any(
            part.kind == Kind.STATE and not part.size for part in model.layers
        ),
        f"what QUANTIZATION={options.quantization} saves": options.quantization
        and not model.is_quantized
        and model.weights == model.files.weights,
    }
    left_out = [what for what, there in given.items() if there]
    return [f"Not counted: {', '.join(left_out)}."] if left_out else []


def _gb(size: int) -> str:
    return f"{size / GB:.2f}"
