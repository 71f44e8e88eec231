"""Beam search over any model that can say which tokens may come next.

vLLM searches to the last token in any case, and has no `early_stopping`. Scores are vLLM's: the
cumulative log-probability of a beam, divided by its length, prompt included, to the power of
`length_penalty`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Literal, Protocol

EarlyStopping = Literal[True, False, "never"]


class Candidate(Protocol):
    """A token that may come next."""

    @property
    def logprob(self) -> float: ...


Step = Mapping[int, Candidate]
"""Token id → what the model says about it, for the likeliest next tokens."""


@dataclass(frozen=True, slots=True)
class Beam:
    """Tokens that the model may generate; `steps` are the choices it had at each of them."""

    tokens: tuple[int, ...] = ()
    steps: tuple[Step, ...] = ()
    logprob: float = 0.0
    ended: bool = False

    def extended(self, token: int, step: Step, ended: bool) -> "Beam":
        """A token that ends the text is not part of it."""
        tokens = self.tokens if ended else (*self.tokens, token)
        return Beam(tokens, (*self.steps, step), self.logprob + step[token].logprob, ended)


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """A search for the `width` best texts of at most `max_tokens` tokens.

    `early_stopping` says when to stop once `width` beams have ended: True at once, False when the
    best running beam is worse than the worst of them as it stands, "never" when it could not
    overtake even at its best length.
    """

    width: int
    max_tokens: int
    end_tokens: frozenset[int]
    prompt_length: int
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False

    async def run(
        self, next_tokens: Callable[[Sequence[Beam]], Awaitable[Sequence[Step]]]
    ) -> list[Beam]:
        """The best beams, best first. `next_tokens` should offer twice the width for each beam."""
        running, ended = [Beam()], list[Beam]()
        for _ in range(self.max_tokens):
            steps = await next_tokens(running)
            going_on = []
            for beam, step in zip(running, steps, strict=True):
                for token, candidate in step.items():
                    if token in self.end_tokens:
                        ended.append(beam.extended(token, step, ended=True))
                    else:
                        going_on.append((beam.logprob + candidate.logprob, beam, token, step))
            ended = self._best(ended)
            # Only those that go on are built: a beam is as long as its text.
            best = nlargest(self.width, going_on, key=lambda candidate: candidate[0])
            running = [beam.extended(token, step, ended=False) for _, beam, token, step in best]
            if not running or self._decided(running[0], ended):
                return ended
        return self._best([*ended, *running])

    def _best(self, beams: list[Beam]) -> list[Beam]:
        return nlargest(self.width, beams, key=self._score)

    def _decided(self, best_running: Beam, ended: list[Beam]) -> bool:
        if len(ended) < self.width:
            return False
        if self.early_stopping is True:
            return True
        length = len(best_running.tokens)
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = self.max_tokens  # a longer beam scores higher
        return self._score(ended[-1]) >= self._score(best_running, length)

    def _score(self, beam: Beam, length: int | None = None) -> float:
        tokens = self.prompt_length + (len(beam.tokens) if length is None else length)
        return float(beam.logprob / max(tokens, 1) ** self.length_penalty)
