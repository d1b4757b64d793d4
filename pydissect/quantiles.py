"""The share of a unit's activations that lies above its threshold."""

from collections.abc import Sequence
from fractions import Fraction

from .errors import InputError

Quantiles = float | str | Fraction | Sequence[float | str | Fraction]


def check_quantile(quantile: object) -> tuple[list[object], bool]:
    """The quantiles as a list, and whether a sequence of them was given.

    Raises:
        InputError: one is not a number between 0 and 1, exclusive.
    """
    several = isinstance(quantile, Sequence) and not isinstance(quantile, str)
    quantiles = list(quantile) if several else [quantile]  # type: ignore[call-overload]
    if not quantiles:
        raise InputError("quantile: expected at least one, found none")
    for value in quantiles:
        try:
            inside = not isinstance(value, bool) and 0 < Fraction(str(value)) < 1
        except (ValueError, ZeroDivisionError):
            inside = False
        if not inside:
            raise InputError(f"quantile: expected a number between 0 and 1, exclusive, found {value!r}")
    return quantiles, several
