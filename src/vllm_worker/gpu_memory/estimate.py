"""Estimate how much of a GPU a model takes, and how many tokens fit in the rest.

Arithmetic from config.json and the sizes of files; vLLM measures at its start, and has the last
word. GB is 10⁹ bytes, in which GPUs are sold: of many there is a little more.
"""

import argparse
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm_worker.configuration.model_files import ModelFiles
from vllm_worker.errors import ConfigurationError
from vllm_worker.gpu_memory import model_shape
from vllm_worker.gpu_memory.model_shape import Config, Kind, Layers, text_config

if TYPE_CHECKING:
    from vllm_worker.configuration import Configuration

GB = 10**9
GIB = 2**30
_GRAPHS = 1.0 * GB
"""Estimates for each GPU: CUDA graphs, and what libraries keep for their own work."""
_LIBRARIES = 0.5 * GB
_BLOCK = 16
"""Tokens in a block of the KV cache, of most of vLLM's attention kernels."""
_KV_BITS = {"bfloat16": 16, "float16": 16, "nvfp4": 4.5, "nvfp4_4over6": 4.5}
_DTYPE_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
_ONLINE_BITS = dict.fromkeys(("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), 8.0)
_ONLINE_BITS |= {"mxfp8": 8.25, "mxfp4": 4.25}
"""Quantizations that vLLM makes of 16-bit weights while it loads them: bits per weight."""


@dataclass(frozen=True)
class Row:
    """A GPU of a size: bytes on each, then what fits on all of a model's GPUs together.

    `cache` is below 0 by what is missing. `tokens` is as vLLM reports it: requests of MAX_MODEL_LEN
    times that length. `longest` is the longest request that fits, in tokens.
    """

    gpu: float
    usable: int
    weights: int
    other: int
    cache: int
    tokens: int
    requests: float
    longest: int


@dataclass(frozen=True)
class Model:
    """A model with the options that the configuration gives it; sizes in bytes."""

    files: ModelFiles
    options: argparse.Namespace

    @property
    def text(self) -> Config:
        overrides = json.loads(self.options.hf_overrides or "{}")
        return text_config(_merged(self.files.config, overrides))

    @property
    def gpus(self) -> int:
        """GPUs that hold one copy of the model."""
        return int(self.options.tensor_parallel_size * self.options.pipeline_parallel_size)

    @property
    def length(self) -> int:
        """The longest request in tokens: MAX_MODEL_LEN, or the model's own."""
        given = self.options.max_model_len
        return given if given and given > 0 else model_shape.longest(self.text)

    @property
    def number_size(self) -> int:
        """Bytes of a number in weights and activations that are not quantized."""
        return _DTYPE_BYTES.get(self.options.dtype, 2)  # auto: float32 is read as 16 bits, too

    @property
    def weights(self) -> int:
        """Weights in all GPUs together, once they are loaded."""
        config, size = self.files.config, self.files.weights
        if self.is_quantized:
            return size
        stored = self.text.get("dtype") or self.text.get("torch_dtype") or config.get("dtype")
        size = size * self.number_size // _DTYPE_BYTES.get(str(stored), self.number_size)
        if bits := _ONLINE_BITS.get(self.options.quantization):
            embeddings = min(self._embeddings, size)
            size = embeddings + int((size - embeddings) * bits / 8 / self.number_size)
        return size

    @property
    def is_quantized(self) -> bool:
        return bool(self._quantization)

    @property
    def _quantization(self) -> Config:
        found = self.files.config.get("quantization_config") or self.text.get("quantization_config")
        return found or self.files.config.get("compression_config") or {}

    @property
    def _embeddings(self) -> int:
        """Bytes of the vocabulary's matrices, which stay as they are."""
        matrices = 1 if self.text.get("tie_word_embeddings", True) else 2
        vocabulary = self.text.get("vocab_size", 0)
        return int(matrices * vocabulary * model_shape.hidden_size(self.text) * self.number_size)

    @property
    def kv_dtype(self) -> str:
        """KV_CACHE_DTYPE, or what the model itself asks for."""
        given = str(self.options.kv_cache_dtype)
        if given != "auto":
            return given
        kept = self._quantization.get("kv_cache_scheme")
        kept = kept or self._quantization.get("kv_cache_quant_algo")
        return "fp8" if kept else "auto"

    @property
    def kv_number_size(self) -> float:
        if self.kv_dtype == "auto":
            return self.number_size
        if self.kv_dtype.startswith("fp8") and "per_token" not in self.kv_dtype:
            return 1
        if self.kv_dtype not in _KV_BITS:
            raise ConfigurationError(
                [f"KV_CACHE_DTYPE={self.kv_dtype}: its size is not known here."]
            )
        return _KV_BITS[self.kv_dtype] / 8

    @property
    def layers(self) -> list[Layers]:
        """The KV cache of one GPU."""
        groups, gpus = self.options.pipeline_parallel_size, self.options.tensor_parallel_size
        parts = model_shape.layers(self.text, self.kv_number_size, self.number_size, gpus)
        return [Layers(p.kind, -(-p.count // groups), p.size, p.window) for p in parts]

    @property
    def token_bytes(self) -> int:
        """KV cache of one more token on one GPU, while it is in every layer's window."""
        return int(sum(part.count * part.size for part in self.layers if part.kind != Kind.STATE))

    def request_bytes(self, length: int, step: int) -> int:
        """KV cache of a request of `length` tokens on one GPU, at its largest, in whole blocks.

        A sliding window holds the window, the tokens of the steps under way, and a block more,
        since it need not begin with a block.
        """
        block = self.options.block_size or _BLOCK
        steps = self.options.pipeline_parallel_size + self.options.async_scheduling
        size = 0.0
        for part in self.layers:
            kept = _in_blocks(length, block)
            if part.window:
                kept = block + _in_blocks(min(length, part.window - 1 + steps * step), block)
            size += part.count * part.size * (1 if part.kind == Kind.STATE else kept)
        return int(size)

    def row(self, gpu: float) -> Row:
        """The fit on GPUs of `gpu` GB."""
        options = self.options
        step, requests = _defaults(gpu)
        step = options.max_num_batched_tokens or step
        usable = int(gpu * GB * options.gpu_memory_utilization)
        weights = max(0, self.weights // self.gpus - int(options.cpu_offload_gb * GIB))
        other = self._other(step, options.max_num_seqs or requests)
        cache = usable - weights - other
        if given := options.kv_cache_memory_bytes:
            cache = given if given <= cache else cache - given
        request = self.request_bytes(self.length, step)
        fit = max(0, cache) / request if request else 0.0
        lengths = range(1, self.length + 1)
        longest = bisect_right(lengths, cache, key=lambda n: self.request_bytes(n, step))
        return Row(gpu, usable, weights, other, cache, int(fit * self.length), fit, longest)

    def _other(self, step: int, requests: int) -> int:
        """An estimate: activations and logits of one step, CUDA graphs, libraries."""
        text, gpus = self.text, self.options.tensor_parallel_size
        hidden = model_shape.hidden_size(text)
        dense = 3 * (text.get("intermediate_size") or text.get("n_inner") or 4 * hidden)
        experts = text.get("num_experts_per_tok") or 0
        sparse = experts * (3 * (text.get("moe_intermediate_size") or dense // 3) + hidden)
        activations = step * (3 * hidden + max(dense, sparse) // gpus) * self.number_size
        logits = requests * text.get("vocab_size", 0) * 2 * 4  # float32, and a copy to sort
        graphs = 0 if self.options.enforce_eager else _GRAPHS
        return int(activations + logits + graphs + _LIBRARIES)


def read_options(configuration: "Configuration") -> argparse.Namespace:
    """The options of vLLM that matter here, from wherever they come; the strongest wins.

    Raises ConfigurationError for a value in VLLM_EXTRA_ARGS that is no number.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flags, kind, default in _options():
        parser.add_argument(*flags, type=kind, default=default)
    switches = {"--enforce-eager": False, "--enable-lora": False, "--async-scheduling": True}
    for flag, default in switches.items():
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
    words = [word for _, option in configuration.options() for word in option]
    try:
        return parser.parse_known_args(words)[0]
    except argparse.ArgumentError as error:
        raise ConfigurationError([f"VLLM_EXTRA_ARGS: {error}."]) from None


def _options() -> Iterator[tuple[Sequence[str], Any, Any]]:
    yield ("--max-model-len",), _whole_number, None
    yield ("--max-num-batched-tokens",), _whole_number, None
    yield ("--max-num-seqs",), _whole_number, None
    yield ("--kv-cache-memory-bytes",), _whole_number, None
    yield ("--block-size",), int, None
    yield ("--gpu-memory-utilization",), float, 0.92
    yield ("--cpu-offload-gb",), float, 0
    yield ("--tensor-parallel-size", "-tp"), int, 1
    yield ("--pipeline-parallel-size", "-pp"), int, 1
    yield ("--quantization", "-q"), str, None
    yield ("--revision",), str, None
    yield ("--hf-overrides",), str, None
    yield ("--speculative-config",), str, None
    for flag in ("--dtype", "--kv-cache-dtype"):
        yield (flag,), str, "auto"


def _defaults(gpu: float) -> tuple[int, int]:
    """vLLM's default of MAX_NUM_BATCHED_TOKENS and MAX_NUM_SEQS for a GPU of so many GB."""
    if gpu * GB >= 160 * GIB:
        return 16384, 1024
    return (8192, 1024) if gpu * GB >= 70 * GIB else (2048, 256)


def _in_blocks(tokens: int, block: int) -> int:
    return -(-tokens // block) * block


def _merged(config: Config, overrides: Config) -> Config:
    nested = {
        name: _merged(config[name], value)
        for name, value in overrides.items()
        if isinstance(value, dict) and isinstance(config.get(name), dict)
    }
    return {**config, **overrides, **nested}


def _whole_number(text: str) -> int:
    """As vLLM reads it: 8192, 8k (thousands), 8K (of 1,024); auto is -1."""
    if text == "auto":
        return -1
    power = "kmgt".find(text[-1:].lower()) + 1
    if not power:
        return int(text)
    return int(float(text[:-1]) * (1000 if text[-1].islower() else 1024) ** power)
