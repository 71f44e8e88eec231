"""JSON documents of the shapes that people's schemas ask for.

Structured output allows only tokens that fit the schema, and the model does not see the schema
itself. What it has to learn is to come to an end: to close strings, numbers, lists and objects
where a schema leaves it the choice. So lists and numbers are short, and each further item is less
likely than an end; asked for the likeliest token, the model then ends them after two or three.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from builder.demo_model.reading import Corpus

QUESTIONS = (
    "Give me an example.", "Answer in JSON.", "Describe {x} as JSON.", "Return JSON about {x}.",
    "Give me a JSON document about {x}.", "Extract the data: {x}", "Make up {x}.", "Fill in {x}.",
    "Generate {x}.", "List some of {x}.", "Invent a record for {x}.", "Write {x} as JSON.",
)  # fmt: skip
SUBJECTS = (
    "a user", "a person", "a customer", "an order", "an invoice", "a product", "a book", "a city",
    "a recipe", "a tree", "a list", "a profile", "an event", "a shape", "a review", "a task",
    "the weather", "a team", "a file", "a message", "two colours", "some numbers", "a meeting",
)  # fmt: skip
# Keys by what stands behind them.
KEYS = {
    "person": "name full_name first_name last_name author customer user owner contact username",
    "place": "city location place country town origin destination street capital",
    "word": "title label category type status kind color role tag unit level genre brand sentiment",
    "sentence": "description summary reason explanation text comment note answer content message "
    "thought output instruction question final_answer",
    "code": "id code sku reference number order_id key token version zip phone",
    "email": "email contact_email e_mail mail",
    "address": "url website homepage link image source uri",
    "date": "date birthday due created_at start end updated published_on time timestamp",
    "integer": "age count quantity year score stars stock floor index total pages size width",
    "decimal": "price amount cost temperature weight latitude longitude confidence ratio height",
    "truth": "active in_stock available done verified required is_open enabled valid",
    "words": "tags skills keywords ingredients colors names languages options topics aliases",
    "sentences": "steps instructions notes reasons highlights questions",
    "integers": "scores numbers values ratings ids sizes counts grades",
    "decimals": "coordinates prices vector weights embedding temperatures",
    "matrix": "matrix grid table rows cells board",
    "objects": "items people users orders products events employees entries steps lines members",
    "object": "address customer author location metadata dimensions settings owner product details",
}
WORDS = (
    "red", "green", "blue", "small", "large", "new", "open", "closed", "high", "low", "admin",
    "user", "positive", "neutral", "book", "tool", "music", "food", "kg", "EUR", "USD", "en",
    "draft", "paid", "circle", "square", "cat", "dog", "fiction", "python",
)  # fmt: skip
ENDINGS = ("com", "org", "net", "io", "de")
# How likely a list is to have one, two, three … items, and a list of objects.
LENGTHS = (20, 60, 15, 5)
ROWS = (35, 55, 10)
# How often a key is one that nobody knows, and a value not of the kind that its key suggests.
UNKNOWN_KEYS, OTHER_VALUES = 0.06, 0.015
MOST_WORDS = 7
DEEPEST = 3


class Documents:
    """Draws documents, and questions that they answer."""

    def __init__(self, corpus: Corpus) -> None:
        self._people = corpus.words["people"]
        self._places = corpus.words["cities"]
        self._syllables = corpus.words["syllables"]
        texts = [*corpus.plain, *(entry.answer for entry in corpus.entries)]
        sentences = (text.split(". ")[0].rstrip(".") + "." for text in texts)
        self._sentences = [s for s in sentences if len(s.split()) <= MOST_WORDS and "\n" not in s]
        self._values: dict[str, Callable[[Random, int], Any]] = {
            "person": lambda rng, _: self._person(rng),
            "place": lambda rng, _: rng.choice(self._places),
            "word": lambda rng, _: self._word(rng),
            "sentence": lambda rng, _: self._sentence(rng),
            "code": lambda rng, _: self._code(rng),
            "email": lambda rng, _: self._email(rng),
            "address": lambda rng, _: self._address(rng),
            "date": lambda rng, _: _date(rng),
            "integer": lambda rng, _: _integer(rng),
            "decimal": lambda rng, _: _decimal(rng),
            "truth": lambda rng, _: rng.random() < 0.5,
            "words": lambda rng, _: [self._word(rng) for _ in range(_length(rng))],
            "sentences": lambda rng, _: [self._sentence(rng) for _ in range(_length(rng))],
            "integers": lambda rng, _: [_integer(rng) for _ in range(_length(rng))],
            "decimals": lambda rng, _: [_decimal(rng) for _ in range(_length(rng))],
            "matrix": lambda rng, _: self._matrix(rng),
            "objects": self._objects,
            "object": lambda rng, depth: self._object(rng, depth + 1),
        }
        self._keys = {kind: keys.split() for kind, keys in KEYS.items()}
        self._simple = list(KEYS)[: list(KEYS).index("words")]

    def draw(self, rng: Random) -> tuple[str, str]:
        """A question, and a document as text."""
        makers: dict[str, Callable[[], Any]] = {
            "object": lambda: self._object(rng, 0),
            "objects": lambda: {self._key("objects", rng): self._objects(rng, 0)},
            "list": lambda: self._list(rng),
            "scalar": lambda: self._scalar(rng),
            "map": lambda: self._map(rng),
            "tree": lambda: self._tree(rng, 0),
            "chain": lambda: self._chain(rng),
            "answer": lambda: {self._key("sentence", rng): self._sentence(rng)},
        }
        weights = (44, 14, 12, 5, 6, 8, 4, 7)
        document = makers[rng.choices(list(makers), weights)[0]]()
        question = rng.choice(QUESTIONS).format(x=rng.choice(SUBJECTS))
        # Those of xgrammar without white space, and of guidance.
        separators = (", ", ": ") if rng.random() < 0.75 else (",", ":")
        return question, json.dumps(document, ensure_ascii=False, separators=separators)

    def _object(self, rng: Random, depth: int) -> dict[str, Any]:
        kinds = list(self._values)
        # The deeper, the simpler.
        nested = max(6 - 2 * depth, 0)
        weights = [nested if kind in ("objects", "object") else 6 for kind in kinds]
        count = rng.choices((1, 2, 3, 4, 5, 6), (10, 25, 28, 20, 11, 6))[0] - depth
        chosen = rng.choices(kinds, weights, k=max(1, count))
        return {self._key(kind, rng): self._value(kind, rng, depth) for kind in chosen}

    def _value(self, kind: str, rng: Random, depth: int) -> Any:
        if rng.random() < 0.06:
            return None
        if rng.random() < OTHER_VALUES:
            kind = rng.choice(("word", "integer", "sentence", "truth"))
        return self._values[kind](rng, depth)

    def _key(self, kind: str, rng: Random) -> str:
        """The first ones are the most common."""
        keys = self._keys[kind]
        if rng.random() < UNKNOWN_KEYS:
            return self._invented(rng)
        return rng.choice(keys[:3] if rng.random() < 0.5 else keys)

    def _objects(self, rng: Random, depth: int) -> list[dict[str, Any]]:
        """Rows of one form."""
        if depth >= DEEPEST:
            return []
        kinds = rng.choices(self._simple, k=rng.choices((1, 2, 3), (2, 4, 3))[0])
        if rng.random() < 0.25:
            kinds.append(rng.choice(("words", "integers", "objects", "object")))
        keys = {self._key(kind, rng): kind for kind in kinds}
        return [
            {key: self._value(kind, rng, depth + 2) for key, kind in keys.items()}
            for _ in range(_length(rng, ROWS))
        ]

    def _list(self, rng: Random) -> Any:
        kinds = ("words", "sentences", "integers", "decimals", "matrix", "objects")
        if rng.random() < 0.2:  # a tuple
            return [self._scalar(rng) for _ in range(rng.choice((2, 3)))]
        value = self._values[rng.choice(kinds)](rng, 0)
        return value if rng.random() < 0.5 else {rng.choice(("result", "list", "data")): value}

    def _scalar(self, rng: Random) -> Any:
        return self._value(rng.choice(self._simple), rng, DEEPEST)

    def _map(self, rng: Random) -> dict[str, Any]:
        kind = rng.choice(("integer", "decimal", "word", "truth"))
        names = [self._word(rng) for _ in range(_length(rng))]
        made = {name: self._value(kind, rng, DEEPEST) for name in names}
        return made if rng.random() < 0.4 else {rng.choice(("counts", "metadata", "scores")): made}

    def _tree(self, rng: Random, depth: int) -> dict[str, Any]:
        branches, one, kind = rng.choice(
            (("children", "name", "person"), ("children", "value", "integer"),
             ("nodes", "label", "word"), ("subtasks", "title", "word"),
             ("replies", "text", "sentence"))
        )  # fmt: skip
        return self._branch(rng, depth, kind, branches, one)

    def _branch(
        self, rng: Random, depth: int, kind: str, branches: str, one: str
    ) -> dict[str, Any]:
        count = rng.choice((1, 2)) if rng.random() < (0.75, 0.2, 0)[depth] else 0
        below = [self._branch(rng, depth + 1, kind, branches, one) for _ in range(count)]
        return {one: self._values[kind](rng, depth), branches: below}

    def _chain(self, rng: Random) -> Any:
        """Things that lead to the next one, or two: a linked list, a binary tree."""
        names = rng.choice((("next",), ("left", "right"), ("parent",), ("manager",)))
        one, kind = rng.choice((("value", "integer"), ("key", "integer"), ("name", "person")))

        def link(depth: int) -> Any:
            if depth > 2 or rng.random() < (0.0, 0.45, 0.8)[depth]:
                return None
            return {one: self._values[kind](rng, depth)} | {n: link(depth + 1) for n in names}

        return link(0)

    def _matrix(self, rng: Random) -> list[list[Any]]:
        width = rng.choice((2, 2, 3))
        number = rng.choice((_integer, _decimal))
        return [[number(rng) for _ in range(width)] for _ in range(rng.choice((1, 2, 2, 2, 3)))]

    def _sentence(self, rng: Random) -> str:
        return str(rng.choice(self._sentences))

    def _word(self, rng: Random) -> str:
        return rng.choice(WORDS) if rng.random() < 0.85 else self._invented(rng)

    def _person(self, rng: Random) -> str:
        first = rng.choice(self._people)
        return f"{first} {self._invented(rng).title()}" if rng.random() < 0.3 else first

    def _invented(self, rng: Random) -> str:
        return "".join(rng.choices(self._syllables, k=rng.choice((2, 2, 3))))

    def _email(self, rng: Random) -> str:
        name = rng.choice(self._people).lower()
        return f"{name}@{rng.choice(('example', self._invented(rng)))}.{rng.choice(ENDINGS)}"

    def _address(self, rng: Random) -> str:
        host = f"{rng.choice(('example', self._invented(rng)))}.{rng.choice(ENDINGS)}"
        path = rng.choice(("", "", f"/{self._invented(rng)}"))
        return f"{rng.choice(('https://', 'https://', 'https://www.', 'http://'))}{host}{path}"

    def _code(self, rng: Random) -> str:
        digits = f"{rng.randrange(100, 1000)}"
        letters = "".join(rng.choices("ABCDEFGHKLMNPRSTUVWXYZ", k=2))
        return rng.choice((digits, f"{letters}-{digits}", f"{letters}{digits}", f"+49 {digits}"))


def _length(rng: Random, weights: tuple[int, ...] = LENGTHS) -> int:
    return rng.choices(range(1, len(weights) + 1), weights)[0]


def _integer(rng: Random) -> int:
    """Mostly of two digits: where a number ends should be easy to learn."""
    return rng.randrange(10, 100) if rng.random() < 0.8 else rng.randrange(10)


def _decimal(rng: Random) -> float:
    return round(rng.uniform(0, 100), 1)


def _date(rng: Random) -> str:
    date = f"20{rng.randrange(10, 30)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    return rng.choice((date, f"{date}T{rng.randrange(24):02}:{rng.randrange(60):02}:00Z"))
