"""What a soak does: a fixed random mix of jobs, and what becomes of each."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.bad_inputs import CASES, CHAT, COMPLETIONS
from tests.support.http_requests import as_request

ADAPTER = "pirate"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
}
Fate = Literal[
    "completed", "cancelled early", "cancelled late", "cancelled in mid-post", "left", "refused"
]
FATES: dict[Fate, int] = {
    "completed": 65,
    "cancelled early": 7,
    "cancelled late": 7,
    "cancelled in mid-post": 6,
    "left": 5,
    "refused": 10,
}
"""Of 100 jobs: the client waits for the end, cancels (at once, later, or while the worker posts a
chunk), closes its connection, or has sent something wrong.
"""
HTTP_FATES: dict[Fate, int] = {"completed": 70, "left": 20, "refused": 10}
"""The same over HTTP, where a job is cancelled by closing its connection."""
_SUBJECTS = ("RunPod", "vLLM", "a cold start", "LoRA", "a token", "the queue", "an adapter")
_LARGE = 50_000
_BAD = [
    case
    for case in CASES
    if case.says is not None and case.arrives and len(repr(case.input)) < _LARGE
]


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """`with_schema` is whether the answer has to follow SCHEMA, `code` what a job that is refused
    fails with.
    """

    number: int
    fate: Fate
    input: Any
    with_schema: bool
    code: int | None
    delay: float
    """Seconds until the client does what it does to the job."""

    @property
    def native(self) -> bool:
        return "openai_route" not in self.input

    @property
    def stream(self) -> bool:
        return bool((self.input if self.native else self.input["openai_input"]).get("stream"))

    @property
    def repeatable(self) -> bool:
        """Whether its answer is the same each time."""
        return self.fate == "completed"


def plan(jobs: int, seed: int = 0, fates: dict[Fate, int] = FATES) -> Iterator[PlannedJob]:
    """The same jobs for the same seed."""
    chance = random.Random(seed)
    bad = [case for case in _BAD if as_request(case.input)] if fates is HTTP_FATES else _BAD
    for number in range(jobs):
        (fate,) = chance.choices(list(fates), list(fates.values()))
        delay = chance.random() ** 2
        if fate == "refused":
            case = chance.choice(bad)
            yield PlannedJob(number, fate, case.input, False, case.code, delay)
            continue
        with_schema = chance.random() < 0.1
        # The length of a stream follows the schedule; one that is cancelled should still be there.
        tokens = chance.randint(100, 200) if fate != "completed" else chance.randint(1, 200)
        stream = fate == "cancelled in mid-post" or chance.random() < 0.5
        job = _input(chance, tokens, stream, with_schema)
        yield PlannedJob(number, fate, job, with_schema, None, delay)


def _input(chance: random.Random, tokens: int, stream: bool, with_schema: bool) -> dict[str, Any]:
    sampling: dict[str, Any] = {"max_tokens": tokens, "temperature": 0}
    if with_schema:
        sampling |= {"max_tokens": 200, "structured_outputs": {"json": SCHEMA}}
    else:
        sampling["ignore_eos"] = True
    question = f"What is {chance.choice(_SUBJECTS)}? ({chance.randint(0, 999)})"
    model = ADAPTER if chance.random() < 0.2 else "demo"
    given = {"model": model, "stream": stream}
    match chance.choice(["native", "native chat", CHAT, COMPLETIONS]):
        case "native":
            return given | {"prompt": question, "sampling_params": sampling}
        case "native chat":
            return given | {"messages": question, "sampling_params": sampling}
        case route:
            prompt = {"messages": question} if route == CHAT else {"prompt": question}
            return {"openai_route": route, "openai_input": given | sampling | prompt}
