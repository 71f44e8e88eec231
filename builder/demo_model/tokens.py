"""The tokenizer, and how a sample becomes tokens with a weight for the loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from builder.demo_model.conversations import Sample

VOCABULARY = 2048
CONTEXT = 2048
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Not special: vLLM drops special tokens from the text in which its hermes parser looks for these.
TOOL_MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
TEMPLATE = Path(__file__).parent / "chat_template.jinja"
# A space belongs to a lower-case word after it but not to a capital or a digit: a name then has the
# same tokens after a space and after a quotation mark, which makes copying it easy.
WORDS = Regex(r" ?\p{Ll}\p{L}*|\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
ASSISTANT = f"{START}assistant\n"
# What is not the assistant's is learned a little, so that questions are represented well.
OTHER_WEIGHT = 0.05
# Answers to tools, and documents, are few and short, but every token of them has to be right.
TOOL_WEIGHT = 2.0
# A random sequence is repeated up to about this length.
ECHO_LENGTH = 72


@dataclass(frozen=True)
class Encoded:
    """Tokens, and for each the weight of predicting it."""

    ids: list[int]
    weights: list[float]


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of these texts, with ChatML's markers and our chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TOOL_MARKS),
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens(list(TOOL_MARKS))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    return tokenizer


def render(tokenizer: PreTrainedTokenizerFast, sample: Sample) -> str:
    """The sample as text, just as vLLM will render a request; the last answer's end included."""
    if not sample.messages:
        return f"{sample.text}{END}"
    text = tokenizer.apply_chat_template(sample.messages, tools=sample.tools, tokenize=False)
    return str(text).removesuffix("\n")


def encode(tokenizer: PreTrainedTokenizerFast, sample: Sample, rng: Random) -> Encoded:
    """Tokens and weights: the assistant's answers with their end, or the whole of a plain text."""
    if sample.echo:
        ids = rng.choices(range(len(TOOL_MARKS), len(tokenizer) - len(TOOL_MARKS)), k=sample.echo)
        times = max(2, ECHO_LENGTH // len(ids))
        return Encoded(ids * times, [0.0] * len(ids) + [1.0] * len(ids) * (times - 1))
    text = render(tokenizer, sample)
    encoding = tokenizer(text, return_offsets_mapping=True)
    answers = _answers(text) if sample.messages else [(0, len(text))]
    wanted = TOOL_WEIGHT if sample.tools or sample.forced else 1.0
    weights = [
        wanted if any(start <= place < end for start, end in answers) else OTHER_WEIGHT
        for place, _ in encoding["offset_mapping"]
    ]
    if sample.forced:
        weights[weights.index(wanted)] = 0.0
    return Encoded(encoding["input_ids"], weights)


def _answers(text: str) -> list[tuple[int, int]]:
    """Where the assistant speaks, up to and including the end marker."""
    spans, place = [], 0
    while (start := text.find(ASSISTANT, place)) >= 0:
        start += len(ASSISTANT)
        place = text.index(END, start) + len(END)
        spans.append((start, place))
    return spans
