"""The model and its training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from random import Random

import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from builder.demo_model.conversations import Conversations, Shares
from builder.demo_model.copying import build_in
from builder.demo_model.tokens import CONTEXT, Encoded, encode

BATCH_TOKENS = 4096
# Samples of similar length share a batch; they are sorted within groups of this many batches.
GROUP = 24
PEAK_RATE = 5e-3
MUON_RATE = 2e-2
WARM_UP = 0.05

Batch = tuple[torch.Tensor, torch.Tensor]
"""Token ids and loss weights, both of shape (samples, length)."""


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama small enough to live in the repository: under four million parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        attention_bias=True,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    build_in(model)
    # vLLM takes its defaults from here: close to greedy unless the request names a temperature. The
    # model knows its answers by heart, and drawing from the less likely tokens only garbles them.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def batches(
    conversations: Conversations, tokenizer: PreTrainedTokenizerFast, rng: Random, shares: Shares
) -> Iterator[Batch]:
    """Batches for ever, of about BATCH_TOKENS each."""
    stream = conversations.stream(rng, shares)
    samples = (encode(tokenizer, sample, rng) for sample in stream)
    while True:
        group: list[Encoded] = []
        while sum(len(sample.ids) for sample in group) < BATCH_TOKENS * GROUP:
            group.append(next(samples))
        group.sort(key=lambda sample: len(sample.ids))
        made = list(_cut(group, tokenizer.pad_token_id))
        rng.shuffle(made)
        yield from made


def _cut(group: list[Encoded], pad: int) -> Iterator[Batch]:
    """Padded batches from samples sorted by length."""
    batch: list[Encoded] = []
    for sample in group:
        if batch and len(sample.ids) * (len(batch) + 1) > BATCH_TOKENS:
            yield _pad(batch, pad)
            batch = []
        batch.append(sample)
    yield _pad(batch, pad)


def _pad(batch: list[Encoded], pad: int) -> Batch:
    length = max(len(sample.ids) for sample in batch)
    ids = [sample.ids + [pad] * (length - len(sample.ids)) for sample in batch]
    weights = [sample.weights + [0.0] * (length - len(sample.ids)) for sample in batch]
    return torch.tensor(ids), torch.tensor(weights)


def train(model: LlamaForCausalLM, data: Iterator[Batch], steps: int) -> None:
    """Train in place, printing the progress."""
    optimizers = _optimizers(model)
    begun, recent = time.monotonic(), 0.0
    model.train()
    for step in range(1, steps + 1):
        _set_rate(optimizers, step / steps)
        loss = _loss(model, *next(data))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        recent += loss.item()
        if step % 50 == 0 or step == steps:
            elapsed = time.monotonic() - begun
            remaining = elapsed / step * (steps - step)
            loss_now = recent / (step % 50 or 50)
            print(
                f"step {step}/{steps}  loss {loss_now:.4f}"
                f"  elapsed {elapsed:.0f} s  remaining {remaining:.0f} s",
                flush=True,
            )
            recent = 0.0
    model.eval()


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    # Padding is on the right and attention looks left: no mask is needed.
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        logits = model(input_ids=ids[:, :-1]).logits
    losses = cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    wanted = weights[:, 1:].flatten()
    return (losses * wanted).sum() / wanted.sum()


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.01),
        torch.optim.AdamW(others, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _set_rate(optimizers: list[torch.optim.Optimizer], done: float) -> None:
    """Linear warm-up, then down to zero along a cosine."""
    share = done / WARM_UP if done < WARM_UP else _cosine((done - WARM_UP) / (1 - WARM_UP))
    for optimizer, peak in zip(optimizers, (MUON_RATE, PEAK_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * share


def _cosine(part: float) -> float:
    return (1 + math.cos(math.pi * part)) / 2
