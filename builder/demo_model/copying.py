"""Starts the model with heads that copy.

To copy a name from the question into a tool call, a transformer needs two heads in a row: one that
tells each token which token came before it, and one that looks for an earlier place where the token
before was the present one, and takes over what followed there (an "induction head"). Gradient
descent finds the pair only after very many steps, more than a quarter of an hour on a CPU has.
So the pair is built in, roughly, and training refines it.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import LlamaForCausalLM

# Strengths, found by trying: how sharply the first head looks one token back, how much of it the
# residual stream gets, how sharply the second head compares, and how loudly it repeats.
LOOK_BACK = 7.0
PASS_ON = 0.05
COMPARE = 1.8
REPEAT = 0.1
# Copying heads in the second layer; each repeats its own part of the embedding.
COPIERS = 2


@torch.no_grad()
def build_in(model: LlamaForCausalLM) -> None:
    """Overwrite one head of the first layer and COPIERS heads of the second."""
    config = model.config
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    angles = model.model.rotary_emb.inv_freq
    basis, _ = torch.linalg.qr(torch.randn(width, width))
    # What is compared must not turn with the distance: only the slow half of the rotations is used.
    slow = torch.zeros(size)
    slow[size // 4 : size // 2] = slow[3 * size // 4 :] = 1
    match, carried = basis[:size] * slow[:, None], basis[size : 2 * size] * slow[:, None]
    first, second = (layer.self_attn for layer in model.model.layers[:2])

    # The same for every token: a key, and the query that fits best one place further.
    first.q_proj.weight[:size], first.k_proj.weight[:size] = 0, 0
    first.k_proj.bias[:size] = torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])
    first.q_proj.bias[:size] = torch.cat([angles.cos(), -angles.sin()])
    for projection in (first.q_proj, first.k_proj):
        projection.bias[:size] *= LOOK_BACK
    _carry(first, 0, match, carried.T * PASS_ON)

    for head in range(COPIERS):
        rows = slice(head * size, (head + 1) * size)
        second.q_proj.weight[rows] = match * COMPARE
        second.k_proj.weight[rows] = carried * COMPARE
        part = basis[rows]
        _carry(second, head, part, part.T * REPEAT)


def _carry(attention: nn.Module, head: int, read: torch.Tensor, write: torch.Tensor) -> None:
    """Let a head take these directions from where it looks, and write them to those."""
    rows = slice(head * len(read), (head + 1) * len(read))
    attention.v_proj.weight[rows] = read
    attention.o_proj.weight[:, rows] = write
