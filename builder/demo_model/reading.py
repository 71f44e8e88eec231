"""Reads the corpus: questions and answers, dialogues, plain text and word lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CORPUS = Path(__file__).parent / "corpus"
QUESTION_FILES = ("worker.txt", "runpod.txt", "vllm.txt", "llm.txt", "smalltalk.txt")
# A dialogue's answer "@" stands for the answer that the question files give to the same question.
SAME_ANSWER = "@"


@dataclass(frozen=True)
class Entry:
    """One answer, and all the ways in which the corpus asks for it."""

    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Corpus:
    """Everything that the corpus files say, before any of it is varied or combined."""

    entries: tuple[Entry, ...]
    dialogues: tuple[tuple[Entry, ...], ...]
    plain: tuple[str, ...]
    words: dict[str, Any]
    unknown: dict[str, Any]
    holdout: dict[str, Any]

    @property
    def answers(self) -> dict[str, str]:
        """Normalised question → answer."""
        return {normal(q): entry.answer for entry in self.entries for q in entry.questions}


def normal(question: str) -> str:
    """The question without case and closing punctuation; what agrees here has one answer."""
    return question.lower().strip(" .?!")


def load() -> Corpus:
    """Read all files. Raises ValueError where two entries answer the same question differently."""
    entries = tuple(entry for name in QUESTION_FILES for entry in _entries(_blocks(name), "Q", "A"))
    _check(entries)
    known = {normal(q): entry.answer for entry in entries for q in entry.questions}
    return Corpus(
        entries=entries,
        dialogues=tuple(_dialogue(block, known) for block in _blocks("dialogues.txt")),
        plain=tuple(line for block in _blocks("plain.txt") for line in block),
        words=_words(_yaml("words.yaml")),
        unknown=_words(_yaml("unknown.yaml")),
        holdout=_yaml("holdout.yaml"),
    )


def _blocks(name: str) -> list[list[str]]:
    """The lines of a file in groups that blank lines separate, without comments."""
    blocks: list[list[str]] = [[]]
    for line in (CORPUS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _entries(blocks: list[list[str]], asks: str, answers: str) -> list[Entry]:
    return [entry for block in blocks for entry in _turns(block, asks, answers)]


def _turns(block: list[str], asks: str, answers: str) -> list[Entry]:
    """Pair each run of question lines with the answer after it; "| " keeps a line break."""
    turns: list[tuple[list[str], list[str]]] = []
    for line in block:
        mark, _, rest = line.partition(": ")
        if mark == asks:
            if not turns or turns[-1][1]:
                turns.append(([], []))
            turns[-1][0].append(rest.strip())
        elif mark == answers or line.startswith((f"{answers}:", "|")):
            text = line.removeprefix(f"{answers}:").strip()
            turns[-1][1].append("\n" + text[1:].strip() if text.startswith("|") else text)
        else:
            raise ValueError(f"neither {asks}: nor {answers}: {line!r}")
    return [Entry(tuple(questions), "".join(lines).strip()) for questions, lines in turns]


def _dialogue(block: list[str], known: dict[str, str]) -> tuple[Entry, ...]:
    turns = _turns(block, "U", "A")
    return tuple(
        Entry(turn.questions, known[normal(turn.questions[0])])
        if turn.answer == SAME_ANSWER
        else turn
        for turn in turns
    )


def _check(entries: tuple[Entry, ...]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        for question in entry.questions:
            if seen.setdefault(normal(question), entry.answer) != entry.answer:
                raise ValueError(f"two answers to {question!r}")


def _yaml(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CORPUS / name).read_text(encoding="utf-8"))
    return loaded


def _words(data: dict[str, Any]) -> dict[str, Any]:
    """Turn the folded lists of words into lists; everything else stays as it is."""
    return {
        key: value.split()
        if key == "syllables"
        else [w.strip() for w in value.split(",")]
        if isinstance(value, str)
        else value
        for key, value in data.items()
    }
