"""The random choices of one picture."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Choices drawn from the generator `rng`, for those who draw with it."""

    rng: np.random.Generator

    def among(self, low: float, high: float) -> float:
        """Pick a number of the interval."""
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """Pick a whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """Toss a coin."""
        return bool(self.rng.random() < probability)

    def choose(self, options: Sequence[T]) -> T:
        """Pick one of the options."""
        return options[int(self.rng.integers(len(options)))]
