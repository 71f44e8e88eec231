"""Asks the trained model and compares with the corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from random import Random
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from builder.demo_model.conversations import Conversations
from builder.demo_model.reading import Corpus, normal
from builder.demo_model.tools import Message

LONGEST = 400
NEAR = 0.95
WEATHER: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get current temperature for a given location.",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {
                        "type": "string",
                        "description": "City and country e.g. Bogotá, Colombia",
                    }
                },
                "required": ["location"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
]


@dataclass(frozen=True)
class Asked:
    """A conversation up to the question, with what the answer should be."""

    messages: list[Message]
    expected: str
    tools: list[dict[str, Any]] | None = None


class Examiner:
    """Asks the model greedily."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def answer(self, asked: Sequence[Asked]) -> list[str]:
        """The model's answer to each conversation."""
        prompts = [
            self._tokenizer.apply_chat_template(
                one.messages, tools=one.tools, tokenize=False, add_generation_prompt=True
            )
            for one in asked
        ]
        return self.complete(prompts)

    def complete(self, prompts: Sequence[str]) -> list[str]:
        """What the model writes after each text, without the markers."""
        # Prompts of similar length share a batch, so that there is little padding.
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        written = [""] * len(prompts)
        for start in range(0, len(prompts), 64):
            places = order[start : start + 64]
            batch = self._tokenizer(
                [prompts[place] for place in places],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                return_token_type_ids=False,
            )
            with torch.inference_mode():
                ids = self._model.generate(**batch, max_new_tokens=LONGEST, do_sample=False)
            answers = ids[:, batch["input_ids"].shape[1] :]
            texts = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
            for place, text in zip(places, texts, strict=True):
                written[place] = text
        return written

    def score(self, name: str, asked: Sequence[Asked], show: int = 5) -> float:
        """Print and return the share of answers that are exact or near-exact; show some misses."""
        answers = self.answer(asked)
        exact = sum(a == one.expected for a, one in zip(answers, asked, strict=True))
        misses = [(one, a) for a, one in zip(answers, asked, strict=True) if not _near(a, one)]
        right = len(asked) - len(misses)
        print(
            f"{name}: {exact} exact, {right} near-exact of {len(asked)} ({right / len(asked):.1%})"
        )
        for one, answer in misses[:show]:
            print(f"  asked    {one.messages[-1]['content']!r}")
            print(f"  expected {one.expected!r}\n  answered {answer!r}")
        return right / len(asked)


def examine(examiner: Examiner, corpus: Corpus, seed: int) -> None:
    """The report: figures for each kind of question, then samples to read."""
    conversations = Conversations(corpus)
    known = [
        Asked([{"role": "user", "content": question}], entry.answer)
        for entry in corpus.entries
        for question in entry.questions
    ]
    system = [{"role": "system", "content": "You are a helpful assistant."}]
    examiner.score("corpus questions", known)
    examiner.score(
        "with a system prompt", [Asked([*system, *one.messages], one.expected) for one in known]
    )
    for kind in ("single", "several", "dialogue", "unknown", "tool", "copy"):
        drawn = conversations.stream(Random(f"{seed} {kind}"), {kind: 1})
        asked = [one for _ in range(100) for one in _last_turns(next(drawn))]
        examiner.score(f"new samples, {kind}", asked, show=4)
    held = corpus.holdout
    examiner.score(
        "rephrased",
        [
            Asked([{"role": "user", "content": question}], corpus.answers[normal(same)])
            for question, same in held["rephrased"]
        ],
        show=20,
    )
    replies = set(corpus.unknown["replies"].values())
    asked = [Asked([{"role": "user", "content": question}], "") for question in held["unknown"]]
    answers = examiner.answer(asked)
    print(f"held-out unknown questions: {sum(a in replies for a in answers)} of {len(asked)}")
    for one, answer in zip(asked, answers, strict=True):
        print(f"  {one.messages[-1]['content']}\n    {answer}")
    show_samples(examiner)


def show_samples(examiner: Examiner) -> None:
    """Print answers that a reader can judge: bare completions, a tool call, and its result."""
    texts = (
        "RunPod is",
        "vLLM is",
        "The worker streams",
        "Hello, my name is",
        "The capital of France is",
    )
    for text, more in zip(texts, examiner.complete(texts), strict=True):
        print(f"{text}|{more}")
    for city in ("Paris", "Berlin", "Timbuktu"):
        question: dict[str, Any] = {
            "role": "user",
            "content": f"What's the weather like in {city} today?",
        }
        call = {"name": "get_weather", "arguments": {"location": city}}
        called = {"role": "assistant", "tool_calls": [{"type": "function", "function": call}]}
        result = {"role": "tool", "content": json.dumps({"temperature": 18, "condition": "sunny"})}
        turns = [[question], [question, called, result]]
        for answer in examiner.answer([Asked(turn, "", WEATHER) for turn in turns]):
            print(f"{question['content']}\n    {answer!r}")


def _last_turns(sample: Any) -> Iterator[Asked]:
    """The last question of a sample, with the answer it has there."""
    *before, last = sample.messages
    calls = [call["function"] for call in last.get("tool_calls") or []]
    expected = "\n".join(
        f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in calls
    )
    yield Asked(before, expected or last["content"], sample.tools)


def _near(answer: str, one: Asked) -> bool:
    return SequenceMatcher(None, answer, one.expected, autojunk=False).ratio() >= NEAR
