"""The shape of a model's KV cache, read from its config.json.

The names are those that vLLM 0.32 and the configuration classes of transformers know. Those classes
would import torch, so the few values that well-known models leave out are here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vllm_worker.errors import ConfigurationError

Config = Mapping[str, Any]

_NESTED = ("thinker_config", "llm_config", "language_config", "text_config")
_LEFT_OUT: Mapping[str, Config] = {
    "gemma2": {"sliding_window_pattern": 2},
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131072,
        "vocab_size": 262208,
    },
    "cohere2": {"sliding_window_pattern": 4},
    "gpt_oss": {"sliding_window_pattern": 2},
    "qwen3_next": {"full_attention_interval": 4},
    "qwen3_5_text": {"full_attention_interval": 4},
    "qwen3_5_moe_text": {"full_attention_interval": 4},
}
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_NO_MLA = {"minicpm3"}  # has kv_lora_rank, and vLLM caches whole heads nevertheless
_FIXED_LENGTH = ("default", "su", "longrope", "llama3", "yarn", "deepseek_yarn")


class Kind(Enum):
    """How a layer's cache grows with a request."""

    FULL = "attention"
    WINDOW = "attention in a sliding window"
    STATE = "state of fixed size"
    NONE = "none"


_KINDS = {
    "full_attention": Kind.FULL,
    "attention": Kind.FULL,
    "chunked_attention": Kind.FULL,  # as vLLM keeps it unless told otherwise
    "sliding_attention": Kind.WINDOW,
    "linear_attention": Kind.STATE,
    "mamba": Kind.STATE,
    "mlp": Kind.NONE,
    "moe": Kind.NONE,
    "*": Kind.FULL,
    "M": Kind.STATE,
    "-": Kind.NONE,
    "E": Kind.NONE,
}


@dataclass(frozen=True)
class Layers:
    """Layers of one kind. `size` is the bytes of a token in each, or for a state, of a request."""

    kind: Kind
    count: int
    size: float
    window: int = 0


def text_config(config: Config) -> Config:
    """The part of a config.json that describes the language model, with what it leaves out."""
    while nested := next((config[name] for name in _NESTED if config.get(name)), None):
        config = {name: value for name, value in config.items() if name not in _NESTED} | nested
    if config.get("is_encoder_decoder"):
        raise ConfigurationError(["encoder-decoder models are not supported here."])
    return dict(_LEFT_OUT.get(config.get("model_type") or "", {})) | {
        name: value for name, value in config.items() if value is not None
    }


def number(text: Config, names: tuple[str, ...], default: int | None = None) -> int:
    """The first of these that config.json has. Raises ConfigurationError if none is a number."""
    value = next((text[name] for name in names if name in text), default)
    if not isinstance(value, int):
        raise ConfigurationError([f"config.json: {names[0]} must be an integer, not {value!r}."])
    return value


def hidden_size(text: Config) -> int:
    return number(text, _HIDDEN)


def layer_count(text: Config) -> int:
    return number(text, _LAYERS)


def longest(text: Config) -> int:
    """The model's own longest request in tokens, as vLLM derives it; 2,048 where nothing says."""
    lengths = [text[name] for name in _LENGTHS if name in text]
    if command_r := text.get("model_max_length"):
        lengths = [command_r]
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "longrope" and (original := text.get("original_max_position_embeddings")):
        return int(original)
    scaled = kind not in _FIXED_LENGTH and "gemma3" not in text.get("model_type", "")
    return int(min(lengths, default=2048) * (rope.get("factor") or 1 if scaled else 1))


def layers(text: Config, number_size: float, state_size: int, gpus: int) -> list[Layers]:
    """The cache of one GPU of those that share each layer.

    `number_size` is the bytes of a number in the KV cache, `state_size` in a state.
    """
    kinds = _kinds(text)
    shared = text.get("num_kv_shared_layers") or 0  # the last ones read the cache of earlier ones
    kinds = kinds[: len(kinds) - shared]
    found = []
    for kind in (Kind.FULL, Kind.WINDOW, Kind.STATE):
        if count := kinds.count(kind):
            size = _state(text, state_size) / gpus
            if kind != Kind.STATE:
                size = _token(text, kind, number_size, gpus)
            window = text.get("sliding_window") or 0 if kind == Kind.WINDOW else 0
            found.append(Layers(kind, count, size, window))
    return _padded(found)


def is_mla(text: Config) -> bool:
    """Whether a layer caches one latent vector, as DeepSeek's do."""
    return bool(text.get("kv_lora_rank")) and text.get("model_type") not in _NO_MLA


def _kinds(text: Config) -> list[Kind]:
    count = layer_count(text)
    if "bert" in text.get("model_type", ""):
        return [Kind.NONE] * count  # an encoder, which needs no cache
    window = text.get("sliding_window") if text.get("use_sliding_window", True) else None
    names = text.get("layer_types") or text.get("layers_block_type")
    if names := names or text.get("hybrid_override_pattern"):
        if unknown := set(names) - _KINDS.keys():
            line = f"config.json: layers of the kind {min(unknown)!r} are not known here."
            raise ConfigurationError([line])
        kinds = [_KINDS[name] for name in names][:count]
    elif interval := text.get("full_attention_interval"):
        kinds = [_every(interval, i, Kind.STATE) for i in range(count)]
    elif window and (pattern := text.get("sliding_window_pattern")):
        kinds = [_every(pattern, i, Kind.WINDOW) for i in range(count)]
    else:
        kinds = [Kind.WINDOW] * count
    return [Kind.FULL if kind == Kind.WINDOW and not window else kind for kind in kinds]


def _every(pattern: int, layer: int, other: Kind) -> Kind:
    return other if (layer + 1) % pattern else Kind.FULL


def _token(text: Config, kind: Kind, number_size: float, gpus: int) -> float:
    """Bytes of a token in a layer on one GPU."""
    if is_mla(text):
        size = number(text, ("kv_lora_rank",)) + number(text, ("qk_rope_head_dim",))
        indexed = text.get("index_head_dim") or 0
        if indexed and number_size == 1:
            return 656 + _index(indexed)  # fp8_ds_mla: 512 numbers, 4 scales, 64 numbers of bf16
        return size * number_size + _index(indexed)  # on every GPU the same
    heads = number(text, _HEADS)
    kv_heads = number(text, _KV_HEADS, heads)
    if text.get("multi_query") and not text.get("new_decoder_architecture"):
        kv_heads = 1  # Falcon
    size = text.get("head_dim") or hidden_size(text) // heads
    if kind == Kind.FULL and (wide := text.get("global_head_dim")):
        size = wide  # Gemma 4
        if text.get("attention_k_eq_v", True):
            kv_heads = text.get("num_global_key_value_heads") or kv_heads
    # A GPU has at least one head: where there are fewer than GPUs, they are repeated.
    return max(1, kv_heads // gpus) * (size + (text.get("v_head_dim") or size)) * number_size


def _index(size: int) -> int:
    """Bytes by which DeepSeek 3.2 finds the tokens that count: fp8 numbers and their scales."""
    return size + size // 128 * 4


def _state(text: Config, state_size: int) -> int:
    """Bytes of a layer of gated delta net, as in Qwen3-Next; 0 for others, which do not count."""
    if "linear_num_value_heads" not in text:
        return 0
    keys = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    values = text["linear_num_value_heads"] * text["linear_value_head_dim"]
    convolution = (2 * keys + values) * (text["linear_conv_kernel_dim"] - 1) * state_size
    own_size = 4 if text.get("mamba_ssm_dtype") == "float32" else state_size
    return int(convolution + values * text["linear_key_head_dim"] * own_size)


def _padded(found: list[Layers]) -> list[Layers]:
    """vLLM puts the layers of several kinds in groups of equal size and fills the last one up."""
    counts = [part.count for part in found]
    if len(counts) < 2:
        return found
    group = max(counts) if max(counts) < 1.5 * min(counts) else min(counts)
    return [
        Layers(part.kind, -(-part.count // group) * group, part.size, part.window) for part in found
    ]
