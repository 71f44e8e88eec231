"""Sizes of a stream's chunks: the first ones are small, and each is larger than the last.

Every chunk costs one HTTP request to RunPod. Small first chunks make a stream start at once, large
later ones keep the number of requests low. The worker's own sizes are DEFAULT_MIN_BATCH_SIZE,
DEFAULT_BATCH_SIZE and DEFAULT_BATCH_SIZE_GROWTH_FACTOR in configuration/settings.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Sizes of chunks in tokens: the first, the largest, and the factor between neighbours."""

    minimum: int
    maximum: int
    growth: float

    def sizes(self) -> Iterator[int]:
        """1, 3, 9, 27, 50, 50, … for a minimum of 1, a maximum of 50 and a growth of 3."""
        size = float(min(self.minimum, self.maximum))
        while True:
            yield int(size)
            size = min(size * self.growth, self.maximum)
