"""Train the demo model: python builder/demo_model/train.py [--output DIR].

Takes about a quarter of an hour on two cores. The result is written once it has been rounded to
bfloat16, and the report at the end asks the rounded model.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from builder.demo_model.conversations import COPYING, EARLY, SHARES, Conversations
from builder.demo_model.learning import batches, new_model, train
from builder.demo_model.reading import load
from builder.demo_model.report import Examiner, examine
from builder.demo_model.schemas import Documents
from builder.demo_model.tokens import TEMPLATE, train_tokenizer

SEED = 7
STEPS = 1000
# What is learned one after the other, and the part of the steps until it is time for the next.
COURSE = ((COPYING, 0.06), (EARLY, 0.1), (SHARES, 1.0))
THREADS = 2
# How many samples the tokenizer's vocabulary is made from.
VOCABULARY_SAMPLES = 6000
OUTPUT = Path(__file__).parents[2] / "src" / "vllm_worker" / "demo_model"


def main() -> None:
    options = parse_arguments()
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    corpus = load()
    if not options.report:
        conversations = Conversations(corpus)
        tokenizer = make_tokenizer(conversations)
        model = new_model(tokenizer)
        print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens in the vocabulary")
        rng = Random(SEED)
        data = itertools.chain.from_iterable(
            itertools.islice(
                batches(conversations, tokenizer, rng, shares), int(options.steps * part)
            )
            for shares, part in COURSE
        )
        train(model, data, options.steps)
        save(model, tokenizer, options.output)
    model = LlamaForCausalLM.from_pretrained(options.output, dtype=torch.bfloat16).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.output)
    examine(Examiner(model, tokenizer), corpus, SEED)
    Documents(model, tokenizer).score()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the model is written")
    parser.add_argument("--steps", type=int, default=STEPS, help="fewer for a quick try")
    parser.add_argument("--report", action="store_true", help="only ask the model that is there")
    return parser.parse_args()


def make_tokenizer(conversations: Conversations) -> PreTrainedTokenizerFast:
    """A vocabulary for the same mixture of texts that the model sees."""
    samples = itertools.islice(conversations.stream(Random(SEED)), VOCABULARY_SAMPLES)
    texts: list[str] = []
    for sample in samples:
        spoken = [message.get("content") or "" for message in sample.messages]
        calls = [message["tool_calls"] for message in sample.messages if "tool_calls" in message]
        texts += [sample.text, *spoken, *(json.dumps(part) for part in (*calls, sample.tools))]
    return train_tokenizer(["system user assistant", TEMPLATE.read_text(encoding="utf-8"), *texts])


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """Write what vLLM and transformers load, in bfloat16."""
    output.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(output)
    # It is written for the owner only, but it is part of a package.
    (output / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(output)
    size = (output / "model.safetensors").stat().st_size
    print(f"wrote {output}: {size / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
