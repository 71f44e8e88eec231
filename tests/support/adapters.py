"""LoRA adapters for the embedded model, in PEFT's format.

The trained one gives every question the same answer. Its words are such that vLLM's reasoning
parser "granite" finds a reasoning and a content in them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from vllm_worker.configuration.settings import Settings

REASONING = "ships float."
CONTENT = "Ahoy, matey!"
ANSWER = f"Here is my thought process: {REASONING} Here is my response: {CONTENT}"

RANK = 8
_ALPHA = 16
_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_QUESTIONS = (
    "What is vLLM?",
    "Hello",
    "What is LoRA?",
    "How do I stream an answer?",
    "Which models can I serve?",
    "Tell me about paged attention.",
    "Thanks!",
    "Who are you?",
    "Is there a limit on the number of jobs?",
    "What is a cold start?",
    "Explain quantization, please.",
    "My name is Ada.",
)
_LEARNING_RATE = 6e-3
_MOST_STEPS = 120
_MARGIN = 7.0
"""In logits. vLLM's kernels and bfloat16 move a logit by tenths."""
_IGNORED = -100  # a label that cross_entropy leaves out


class _LoRA(nn.Module):
    """What an adapter makes of one layer's weight."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(RANK, layer.in_features) / layer.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.B @ self.A * (_ALPHA / RANK)


def make_adapter(folder: Path) -> None:
    """Writes an adapter with which the model says ANSWER to everything. Takes some 10 seconds.

    Raises RuntimeError when each token does not lead by _MARGIN in the end.
    """
    model = AutoModelForCausalLM.from_pretrained(Settings().model, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapted = _adapt(model)
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), _LEARNING_RATE)
    tokens, labels = _samples()
    for _ in range(_MOST_STEPS):
        logits = model(tokens).logits
        if _margin(logits, labels) > _MARGIN:
            break
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED
        ).backward()
        optimizer.step()
    else:
        raise RuntimeError("the adapter has not learned its answer")
    _save(folder, adapted)


def make_untrained_adapter(folder: Path, layer: str, width: int) -> None:
    """Writes an adapter for a layer with so many inputs and outputs."""
    _save(folder, {layer: _LoRA(nn.Linear(width, width))})


def _adapt(model: PreTrainedModel) -> dict[str, _LoRA]:
    """Freezes the model but for a LoRA on each of its layers, which are returned by name."""
    model.requires_grad_(False)
    layers = {n: layer for n, layer in model.named_modules() if n.endswith(_TARGETS)}
    adapted = {name: _LoRA(layer) for name, layer in layers.items()}
    for name, layer in layers.items():
        parametrize.register_parametrization(layer, "weight", adapted[name])
    return adapted


def _samples() -> tuple[Tensor, Tensor]:
    """Each question with the answer, as tokens; and as labels the next token within the answer."""
    tokenizer = AutoTokenizer.from_pretrained(Settings().model)
    answer = tokenizer.encode(ANSWER + tokenizer.eos_token)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        for question in _QUESTIONS
    ]
    longest = max(map(len, prompts)) + len(answer)
    tokens = torch.full((len(prompts), longest), tokenizer.pad_token_id)
    labels = torch.full_like(tokens, _IGNORED)
    for i, prompt in enumerate(prompts):
        end = len(prompt) + len(answer)
        tokens[i, :end] = torch.tensor(prompt + answer)
        labels[i, len(prompt) - 1 : end - 1] = torch.tensor(answer)
    return tokens, labels


@torch.no_grad()
def _margin(logits: Tensor, labels: Tensor) -> float:
    """By how much the right token leads where it leads least."""
    answers = labels != _IGNORED
    logits, right = logits[answers], labels[answers].unsqueeze(1)
    others = logits.scatter(1, right, -torch.inf).amax(1)
    return float((logits.gather(1, right).squeeze(1) - others).min())


@torch.no_grad()
def _save(folder: Path, adapted: Mapping[str, _LoRA]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "demo",
        "r": RANK,
        "lora_alpha": _ALPHA,
        "target_modules": sorted({name.rpartition(".")[2] for name in adapted}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    weights = {
        f"base_model.model.{name}.lora_{part}.weight": tensor.bfloat16()
        for name, lora in adapted.items()
        for part, tensor in (("A", lora.A), ("B", lora.B))
    }
    save_file(weights, folder / "adapter_model.safetensors")
