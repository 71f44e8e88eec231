"""The search against an exhaustive one, and its early stops by their counts of steps."""

import itertools
import math
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_worker.decoding.beam_search import Beam, BeamSearch, Step

END = 0
TOKENS = range(4)


class ToyModel:
    """Next-token probabilities that depend on all tokens so far, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.steps = 0

    def step(self, tokens: tuple[int, ...]) -> Step:
        weights = random.Random(f"{self.seed} {tokens}")
        shares = [weights.random() ** 3 for _ in TOKENS]
        return {t: SimpleNamespace(logprob=math.log(shares[t] / sum(shares))) for t in TOKENS}

    async def __call__(self, beams: Sequence[Beam]) -> list[Step]:
        self.steps += 1
        return [self.step(beam.tokens) for beam in beams]

    def exhaustive(self, max_tokens: int, penalty: float, prompt: int) -> list[tuple[int, ...]]:
        """Every text, best first."""
        scored = []
        for length in range(max_tokens + 1):
            for tokens in itertools.product(TOKENS[1:], repeat=length):
                ended = (END,) if length < max_tokens else ()
                path = (*tokens, *ended)
                logprob = sum(self.step(path[:i])[path[i]].logprob for i in range(len(path)))
                scored.append((logprob / max(prompt + length, 1) ** penalty, tokens))
        return [tokens for _, tokens in sorted(scored, reverse=True)]


def search(width: int, **changes: Any) -> BeamSearch:
    plain: dict[str, Any] = {"max_tokens": 4, "end_tokens": frozenset({END}), "prompt_length": 3}
    return BeamSearch(width=width, **plain | changes)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.0, -1.0])
async def test_a_wide_search_finds_the_best_texts(seed: int, penalty: float) -> None:
    model = ToyModel(seed)
    found = await search(81, length_penalty=penalty, early_stopping="never").run(model)
    best = model.exhaustive(4, penalty, prompt=3)
    assert [beam.tokens for beam in found][:10] == best[:10]


async def test_beams_know_their_tokens_choices_and_probability() -> None:
    model = ToyModel(1)
    for beam in await search(3).run(model):
        path = (*beam.tokens, END) if beam.ended else beam.tokens
        assert len(beam.steps) == len(path)
        assert beam.logprob == pytest.approx(
            sum(step[token].logprob for step, token in zip(beam.steps, path, strict=True))
        )


async def test_early_stopping_stops_sooner_the_bolder_it_is() -> None:
    steps: dict[Any, list[int]] = {True: [], False: [], "never": []}
    for early_stopping, counts in steps.items():
        for seed in range(20):
            model = ToyModel(seed)
            found = await search(2, max_tokens=30, early_stopping=early_stopping).run(model)
            assert len(found) == 2
            counts.append(model.steps)
    assert all(a <= b <= c for a, b, c in zip(*steps.values(), strict=True))
    assert sum(steps[True]) < sum(steps[False]) < sum(steps["never"])


async def test_stopping_at_once_takes_the_first_beams_that_end() -> None:
    model = ToyModel(3)
    found = await search(2, max_tokens=30, early_stopping=True).run(model)
    assert all(beam.ended for beam in found)
    assert model.steps == max(len(beam.steps) for beam in found)


async def test_never_stopping_early_gives_what_the_whole_search_gives() -> None:
    """Only searches that cannot get any better stop: the result is that of one that goes on."""
    for seed in range(10):
        found = await search(2, max_tokens=12, early_stopping="never").run(ToyModel(seed))
        assert [beam.tokens for beam in found] == await unhurried(seed)


async def unhurried(seed: int) -> list[tuple[int, ...]]:
    class Unhurried(BeamSearch):
        def _decided(self, best_running: Beam, ended: list[Beam]) -> bool:
            return False

    end = frozenset({END})
    whole = Unhurried(width=2, max_tokens=12, end_tokens=end, prompt_length=3)
    return [beam.tokens for beam in await whole.run(ToyModel(seed))]


async def test_without_an_end_token_every_beam_has_all_its_tokens() -> None:
    found = await search(3, end_tokens=frozenset()).run(ToyModel(0))
    assert [len(beam.tokens) for beam in found] == [4, 4, 4]
    assert not any(beam.ended for beam in found)
