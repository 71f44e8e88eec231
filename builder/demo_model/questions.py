"""Ways to ask: variations of known questions, and questions that the model cannot answer."""

from __future__ import annotations

import re
from random import Random
from typing import Any

# Paraphrases by the shape of a question; "X" is what the pattern captures.
SHAPES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (
        re.compile(r"^What(?: is| are|'s) (?P<x>.+)\?$"),
        (
            "What's X?", "Whats X", "What exactly is X?", "Explain X.", "Explain X to me.",
            "Can you explain X?", "Please explain X.", "Describe X.", "Tell me about X.", "X?", "X",
            "What is X for?", "Do you know what X is?", "Can you tell me what X is?",
            "Could you tell me what X is?", "Can you explain what X is?", "Tell me what X is.",
        ),
    ),
    (
        re.compile(r"^How do I (?P<x>.+)\?$"),
        (
            "How can I X?", "How could I X?", "How to X?", "How to X", "How would I X?",
            "I want to X.", "Can you tell me how to X?", "Tell me how to X.", "How should I X?",
            "What do I have to do to X?",
        ),
    ),
    (
        re.compile(r"^What does (?P<x>.+) do\?$"),
        ("What is X for?", "What's X for?", "What does X do exactly?", "Explain what X does."),
    ),
    (
        re.compile(r"^What does (?P<x>.+) mean\?$"),
        ("What is meant by X?", "What's the meaning of X?", "Explain X."),
    ),
    (
        re.compile(r"^How does (?P<x>.+) work\?$"),
        ("Explain how X works.", "Can you explain how X works?", "How exactly does X work?"),
    ),
)  # fmt: skip
OPENINGS = (
    "Hi, ", "Hello, ", "Hello! ", "Hey, ", "Please tell me: ", "Tell me: ", "Question: ", "So, ",
    "Quick question: ", "Can you help me? ", "I have a question. ", "Please: ", "Ok, ", "And ",
)  # fmt: skip
CLOSINGS = (" Please.", " please", " Thanks!", " Thank you.", " Please explain.", "?", "!", " ")


def paraphrase(question: str, rng: Random) -> str:
    """Ask the same in another common form, where the question has one of the known shapes."""
    for pattern, forms in SHAPES:
        if match := pattern.match(question):
            x = match["x"]
            asked = rng.choice(forms).replace("X", x)
            return asked[0].upper() + asked[1:]
    return question


def roughen(question: str, rng: Random) -> str:
    """Change case, punctuation and politeness as people do; now and then make a typing error."""
    if rng.random() < 0.12:
        opening = rng.choice(OPENINGS)
        lowers = question[:2].istitle() and opening.endswith(", ")
        question = opening + (question[0].lower() + question[1:] if lowers else question)
    if rng.random() < 0.3:
        question = question.rstrip("?!. ")
    elif rng.random() < 0.15:
        question += rng.choice(CLOSINGS)
    if rng.random() < 0.3:
        question = question.lower() if rng.random() < 0.7 else question[0].lower() + question[1:]
    if rng.random() < 0.04 and len(question) > 12:
        place = rng.randrange(1, len(question) - 2)
        swapped = question[place + 1] + question[place]
        question = question[:place] + rng.choice((swapped, swapped[0])) + question[place + 2 :]
    return question


class UnknownQuestions:
    """Makes out-of-scope questions from the templates and words of unknown.yaml."""

    def __init__(self, data: dict[str, Any], syllables: list[str], known: set[str]) -> None:
        self._data = data
        self._syllables = syllables
        self._known = known
        self._templates = [
            (group, template, weight)
            for group in ("fact", "task", "talk")
            for template, weight in data[group]
        ]
        self._weights = [weight for _, _, weight in self._templates]

    def draw(self, rng: Random) -> tuple[str, str]:
        """A question and its reply; never a question that the corpus can answer."""
        while True:
            group, question = self._written(rng) if rng.random() < 0.12 else self._made(rng)
            question = paraphrase(question, rng) if rng.random() < 0.35 else question
            if question.lower().strip(" .?!") not in self._known:
                return question, self.reply(group)

    def reply(self, group: str) -> str:
        return str(self._data["replies"][group])

    def _written(self, rng: Random) -> tuple[str, str]:
        group = rng.choice(("fact", "fact", "task", "talk"))
        return group, rng.choice(self._data["questions"][group])

    def _made(self, rng: Random) -> tuple[str, str]:
        group, template, _ = rng.choices(self._templates, self._weights)[0]
        question = template.format(**self._fillings(rng))
        return group, question[0].upper() + question[1:]

    def _fillings(self, rng: Random) -> dict[str, Any]:
        thing, thing2 = (self._thing(rng) for _ in range(2))
        country, country2 = rng.sample(self._data["countries"], 2)
        return {
            "thing": thing,
            "thing2": thing2,
            "person": rng.choice(self._data["people_and_works"]),
            "country": country,
            "country2": country2,
            "task": rng.choice(self._data["tasks"]),
            "topic": rng.choice(self._data["topics"]),
            "a": rng.randrange(12, 500),
            "b": rng.randrange(3, 500),
            "year": rng.randrange(1500, 2030),
            "gibberish": " ".join(self._invented(rng) for _ in range(rng.randrange(1, 5))),
        }

    def _thing(self, rng: Random) -> str:
        """A word of the list, or an invented one, so that any unheard-of word means "unknown"."""
        if rng.random() < 0.75:
            return str(rng.choice(self._data["things"]))
        name = self._invented(rng)
        if rng.random() < 0.3:
            return "_".join((name, self._invented(rng))).upper()
        return rng.choice((name, f"a {name}", f"the {name}", name.title()))

    def _invented(self, rng: Random) -> str:
        return "".join(rng.choices(self._syllables, k=rng.randrange(2, 5)))
