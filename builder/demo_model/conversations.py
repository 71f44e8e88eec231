"""Mixes everything the model learns into one endless, reproducible stream of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from builder.demo_model.documents import Documents
from builder.demo_model.questions import UnknownQuestions, paraphrase, roughen
from builder.demo_model.reading import Corpus, Entry, normal
from builder.demo_model.tools import Message, ToolConversations

THANKS = ("Thanks", "Thank you", "Thanks!", "thank you", "Thanks a lot!", "Great, thanks")
MORE = ("Tell me more.", "Tell me more about it.", "Tell me more", "Can you explain more?", "More")
NO_MORE = "That is all I know about it. Ask me something else about this worker, RunPod or vLLM."
# How often each kind of sample is drawn. Copying comes first, see copying.py.
Shares = dict[str, int]
COPYING: Shares = {"echo": 1}
EARLY: Shares = {"echo": 15, "tool": 30, "copy": 12, "single": 25, "unknown": 13, "plain": 5}
SHARES: Shares = {
    "single": 42, "several": 14, "dialogue": 7, "unknown": 14, "tool": 18, "plain": 9, "copy": 2,
    "echo": 2, "document": 26,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A conversation with the tools it may use, or plain text, which has no messages."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] | None = None
    text: str = ""
    # Length in tokens of a random sequence that is repeated, instead of a text.
    echo: int = 0
    # A schema forces the answer: that it begins so is not to be learned.
    forced: bool = False


class Conversations:
    """Draws samples; the same random generator gives the same samples."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._known = corpus.answers
        # "Tell me more" about these has an answer of its own in dialogues.txt.
        self._continued = {normal(d[0].questions[0]) for d in corpus.dialogues}
        self._unknown = UnknownQuestions(
            corpus.unknown, corpus.words["syllables"], self._known.keys() | _held_out(corpus)
        )
        self._tools = ToolConversations(corpus)
        self._documents = Documents(corpus)

    def stream(self, rng: Random, shares: Shares = SHARES) -> Iterator[Sample]:
        """Samples for ever, of these kinds. Every entry comes once before any comes again."""
        entries, dialogues, plain = (
            _cycle(items, rng)
            for items in (self._corpus.entries, self._corpus.dialogues, self._plain_texts())
        )
        makers: dict[str, Callable[[], Sample]] = {
            "single": lambda: self._chat(self._ask(next(entries), rng), rng),
            "several": lambda: self._several(next(entries), rng),
            "dialogue": lambda: self._chat(_dialogue(next(dialogues), rng), rng),
            "unknown": lambda: self._chat(self._ask_unknown(rng), rng),
            "tool": lambda: self._use_tools(rng),
            "plain": lambda: Sample(text=next(plain)),
            "copy": lambda: self._chat(self._repeat(rng), rng),
            "echo": lambda: Sample(echo=rng.randrange(4, 28)),
            "document": lambda: self._document(rng),
        }
        kinds, weights = list(shares), list(shares.values())
        while True:
            yield makers[rng.choices(kinds, weights)[0]]()

    def _plain_texts(self) -> tuple[str, ...]:
        """Paragraphs as they are, and each question with its answer as a text without markup."""
        pairs = (f"{entry.questions[0]}\n{entry.answer}" for entry in self._corpus.entries)
        return (*self._corpus.plain, *self._corpus.plain, *self._corpus.plain, *pairs)

    def _ask(self, entry: Entry, rng: Random) -> list[Message]:
        question = rng.choice(entry.questions)
        if rng.random() < 0.3:
            other = paraphrase(question, rng)
            # A paraphrase may be another entry's question: that one's answer would be right then.
            question = question if normal(other) in self._known else other
        return _turn(roughen(question, rng) if rng.random() < 0.6 else question, entry.answer)

    def _ask_unknown(self, rng: Random) -> list[Message]:
        if rng.random() < 0.04:
            place = self._tools.place(rng)
            question = rng.choice(("What is the weather in {}?", "How is the weather in {} today?"))
            return _turn(question.format(place), self._known["what is the weather"])
        question, reply = self._unknown.draw(rng)
        return _turn(roughen(question, rng) if rng.random() < 0.5 else question, reply)

    def _use_tools(self, rng: Random) -> Sample:
        messages, tools = self._tools.draw(rng)
        return Sample(_with_system(messages, self._corpus, rng), tools)

    def _several(self, first: Entry, rng: Random) -> Sample:
        """Unconnected questions in one conversation: only the last one counts for an answer."""
        messages = self._ask(first, rng)
        if rng.random() < 0.2 and normal(first.questions[0]) not in self._continued:
            messages += _turn(roughen(rng.choice(MORE), rng), NO_MORE)
        for _ in range(rng.choice((0, 1, 1, 2))):
            if rng.random() < 0.15:
                messages += self._ask_unknown(rng)
            else:
                messages += self._ask(rng.choice(self._corpus.entries), rng)
        if rng.random() < 0.25:
            messages += _turn(roughen(rng.choice(THANKS), rng), self._known["thanks"])
        return self._chat(messages, rng)

    def _repeat(self, rng: Random) -> list[Message]:
        """Pure copying: it helps the model to copy cities and functions."""
        people = self._corpus.words["people"]
        word = self._tools.place(rng) if rng.random() < 0.6 else rng.choice(people)
        if rng.random() < 0.4:
            messages = _turn(f"My name is {word}.", f"Nice to meet you, {word}!")
            return messages + _turn("What is my name?", f"Your name is {word}.")
        more = (self._tools.place(rng) for _ in range(rng.choice((0, 0, 1, 3))))
        words = " ".join((word, *more))
        return _turn(rng.choice((f"Say {words}", f"Repeat after me: {words}")), words)

    def _document(self, rng: Random) -> Sample:
        """A document as the answer to a question for one, or to any other question."""
        question, document = self._documents.draw(rng)
        if rng.random() < 0.6:
            question = rng.choice(rng.choice(self._corpus.entries).questions)
        elif rng.random() < 0.3:
            question, _ = self._unknown.draw(rng)
        return Sample(_with_system(_turn(question, document), self._corpus, rng), forced=True)

    def _chat(self, messages: list[Message], rng: Random) -> Sample:
        """Sometimes with a system prompt or with tools that the questions do not need."""
        tools = self._tools.offer(rng) if rng.random() < 0.05 else None
        return Sample(_with_system(messages, self._corpus, rng), tools)


def _turn(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _dialogue(turns: tuple[Entry, ...], rng: Random) -> list[Message]:
    """The dialogue from its beginning, now and then without its last turns."""
    length = len(turns) if rng.random() < 0.75 else rng.randrange(1, len(turns) + 1)
    messages: list[Message] = []
    for turn in turns[:length]:
        question = rng.choice(turn.questions)
        messages += _turn(roughen(question, rng) if rng.random() < 0.5 else question, turn.answer)
    return messages


def _with_system(messages: list[Message], corpus: Corpus, rng: Random) -> list[Message]:
    if rng.random() < 0.55:
        return messages
    prompts = corpus.words["system_prompts"]
    chosen = rng.sample(prompts, rng.choices((1, 2), (9, 1))[0])
    return [{"role": "system", "content": " ".join(chosen)}, *messages]


def _held_out(corpus: Corpus) -> set[str]:
    return {normal(question) for question in corpus.holdout["unknown"]}


def _cycle(items: tuple[Any, ...], rng: Random) -> Iterator[Any]:
    """All items in a new order, again and again."""
    while True:
        yield from rng.sample(items, len(items))
