"""Turns of random cases, a burst of several at the same time after the other."""

import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from tests.fuzz.asking import Stuck, Wrong

Ask = Callable[[Any], int]
"""Puts a case and returns the status that came of it. Raises Wrong, Stuck."""

_IN_FLIGHT = 16
_BURSTS = 12
"""In a turn; about a hundred cases."""
_PROGRESS_S = 10
_SETTINGS = settings(
    max_examples=_BURSTS,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


@dataclass
class Tally:
    """What came of the cases so far."""

    codes: Counter[int] = field(default_factory=Counter)

    def __str__(self) -> str:
        codes = ", ".join(f"{number} × {code}" for code, number in sorted(self.codes.items()))
        return f"{self.codes.total()} cases: {codes}"


class Turns:
    """Turns until the monotonic clock says `end`; the n-th has the seed `seed` + n."""

    def __init__(self, say: Callable[[str], None], seed: int, end: float) -> None:
        self.tally = Tally()
        self.failures: set[str] = set()
        self._say = say
        self._seed = seed
        self._end = end
        self._said = time.monotonic()
        self._pool = ThreadPoolExecutor(_IN_FLIGHT)

    @property
    def over(self) -> bool:
        return time.monotonic() > self._end

    def take(self, cases: st.SearchStrategy[Any], ask: Ask) -> None:
        """One turn. A new kind of failure is said and remembered. Raises Stuck."""

        @hypothesis.seed(self._seed)
        @settings(_SETTINGS)
        @given(st.lists(cases, min_size=1, max_size=2 * _IN_FLIGHT))
        def turn(burst: list[Any]) -> None:
            if not self.over:
                self._burst(burst, ask)

        self._seed += 1
        try:
            turn()
        except (Wrong, Flaky) as failure:
            # Flaky: it failed once, and not again.
            for wrong in getattr(failure, "exceptions", [failure]):
                self._say(f"FAILED: {wrong}")
                self.failures.add(_kind(wrong))

    def _burst(self, burst: list[Any], ask: Ask) -> None:
        answers = [self._pool.submit(ask, case) for case in burst]
        wait(answers)
        for answer in answers:
            try:
                self.tally.codes[answer.result()] += 1
            except Wrong as wrong:
                if _kind(wrong) not in self.failures:
                    raise
            except Stuck as stuck:
                cases = "\n    ".join(repr(case)[:2000] for case in burst)
                raise Stuck(f"{stuck}\nThese were in flight:\n    {cases}") from None
        if time.monotonic() > self._said + _PROGRESS_S:
            self._said = time.monotonic()
            self._say(str(self.tally))


def _kind(wrong: BaseException) -> str:
    """The failure without what is different each time."""
    return re.sub(r"\d+|'.*?'|\".*?\"", "…", str(wrong).partition("\n")[0])
