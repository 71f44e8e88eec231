"""Adapters that cannot be loaded, by name and with the reason.

vLLM finds some of them when it loads them, and does not always say which one. An adapter for a
smaller model it takes without a word, and fills up what is missing with zeros.
"""

import copy
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from vllm.lora.utils import get_adapter_absolute_path

from vllm_worker.errors import StartFailure

_WEIGHTS = "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")
"""PEFT's names for the factors of a layer's change; the layer's own name is transformers'."""


def check(adapters: Iterable[Any], model_config: Any) -> None:
    """Raises StartFailure for the first adapter that is not to be had or does not fit the model.

    Downloads those that are repositories. `model_config` is that of transformers; layers that
    transformers does not have under the adapter's names are left to vLLM.
    """
    layers: dict[str, nn.Linear] | None = None
    for adapter in adapters:
        try:
            folder = Path(get_adapter_absolute_path(adapter.path))
            if not folder.is_dir():
                raise _failure(adapter, "there is no such folder or repository")
            if not (folder / _WEIGHTS).is_file():
                continue  # in one of torch's formats
            layers = _layers(model_config) if layers is None else layers
            wrong = _misfit(folder / _WEIGHTS, layers)
        except (OSError, SafetensorError) as error:
            wrong = str(error)
        if wrong:
            raise _failure(adapter, wrong)


def failure(error: ValueError, state: Any) -> StartFailure | None:
    """vLLM's error at the loading of an adapter with that adapter's name; None for another error.

    `state` is that of vLLM's application, which loads the adapters one by one.
    """
    if models := getattr(state, "openai_serving_models", None):
        for adapter in models.static_lora_modules or ():
            if adapter.name not in models.lora_requests:
                return _failure(adapter, str(error))
    return None


def _failure(adapter: Any, why: str) -> StartFailure:
    reason = " ".join(why.split())  # in one line
    return StartFailure(f"adapter {adapter.name} ({adapter.path}) cannot be loaded: {reason}")


def _layers(model_config: Any) -> dict[str, nn.Linear]:
    """The layers of the model by their names, without their weights."""
    # Not at the top: it takes 0.2 s, which workers without adapters can do without.
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                copy.deepcopy(model_config), trust_remote_code=False
            )
    except Exception:
        return {}  # vLLM knows models and configurations that transformers does not
    # An adapter may come with a vocabulary of its own.
    skipped = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer is not skipped
    }


def _misfit(weights: Path, layers: dict[str, nn.Linear]) -> str | None:
    """The first factor that does not fit its layer."""
    with safe_open(weights, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (it is no mapping)
            match = _NAME.fullmatch(key)
            layer = layers.get(match[1]) if match else None
            if match is None or layer is None:
                continue
            shape = file.get_slice(key).get_shape()
            if match[2] == "A":
                side, given, wanted = "inputs", shape[1], layer.in_features
            else:
                side, given, wanted = "outputs", shape[0], layer.out_features
            if given != wanted:
                return f"it is for another model: {match[1]} has {wanted} {side}, not {given}"
    return None
