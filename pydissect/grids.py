"""Sampling grids: where each output pixel reads the activation map.

A grid becomes, per axis, a table of ``(index, fraction)`` for every output
pixel, made once on the host. Backends interpolate between ``index`` and
``index + 1`` by ``fraction`` and know nothing of alignment conventions.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import InputError

# The largest fraction for which the fp32 lerp provably stays between its ends.
_LARGEST_FRACTION = 1 - 2**-22


class AxisTable(NamedTuple):
    """Where the output pixels of one axis read their source.

    ``indices`` is int32 and ``fractions`` float32, one entry an output pixel; the
    pixel lies at ``index + fraction``, ``0 <= index < source`` and
    ``0 <= fraction <= 1 - 2**-22``. Indices never fall.
    """

    indices: npt.NDArray[np.int32]
    fractions: npt.NDArray[np.float32]


def _pair(value: object, name: str, positive: bool) -> tuple[float, float]:
    values = value if isinstance(value, (tuple, list)) else (value, value)
    wanted = "a positive number" if positive else "a number"
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        raise InputError(f"ReceptiveField: {name} must be {wanted} or a pair (y, x) of them, found {value!r}")
    if any(not math.isfinite(v) or (positive and v <= 0) for v in values):
        raise InputError(f"ReceptiveField: {name} must be {wanted} or a pair (y, x) of them, found {value!r}")
    return float(values[0]), float(values[1])


@dataclass(frozen=True)
class ReceptiveField:
    """The grid that puts unit ``i`` of an axis at ``offset + i * stride`` image pixels.

    That is where strides and paddings centre its receptive field, and where
    the 2017 code placed it (Bau et al. 2017, section 2.2: "anchoring
    interpolants at the center of each unit's receptive field").

    Args:
        offset: centre of the first unit, in image pixels (pixel centres are whole numbers).
        stride: distance between units, in image pixels.
        image: size of the network's input, in pixels.

    Each is a number, or a pair ``(y, x)``.
    """

    offset: float | tuple[float, float]
    stride: float | tuple[float, float]
    image: float | tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("offset", "stride", "image"):
            value = getattr(self, name)
            pair = _pair(value, name, positive=name != "offset")
            # Lists and integers become tuples and floats, so that equal fields are hashed and printed alike.
            object.__setattr__(self, name, pair if isinstance(value, (tuple, list)) else pair[0])

    def numbers(self) -> list[float]:
        """Offset, stride and image, each down and across."""
        return [
            *_pair(self.offset, "offset", positive=False),
            *_pair(self.stride, "stride", positive=True),
            *_pair(self.image, "image", positive=True),
        ]

    def __str__(self) -> str:
        """The form that the command line takes, followed by the image's size."""

        def text(value: float | tuple[float, float]) -> str:
            return "x".join(f"{v:g}" for v in value) if isinstance(value, (tuple, list)) else f"{value:g}"

        return f"receptive_field:{text(self.offset)},{text(self.stride)} of {text(self.image)}"


Grid = str | ReceptiveField

_RECEPTIVE_FIELD = re.compile(r"receptive_field:([^,]+),([^,]+)")


def parse_grid(text: str, image: tuple[int, int]) -> Grid:
    """The grid that the command line's ``--grid`` names.

    Args:
        text: ``half_pixel``, ``align_corners`` or ``receptive_field:OFFSET,STRIDE``.
        image: height and width of the network's input, in pixels.

    Raises:
        InputError: the text is none of these.
    """
    if text in ("half_pixel", "align_corners"):
        return text
    match = _RECEPTIVE_FIELD.fullmatch(text)
    if match:
        try:
            return ReceptiveField(float(match[1]), float(match[2]), image)
        except ValueError as error:
            raise InputError(f"grid: {text!r}: {error}") from None
    raise InputError(
        "grid: expected half_pixel, align_corners or receptive_field:OFFSET,STRIDE "
        f"(image pixels, such as receptive_field:5,16), found {text!r}"
    )


def check_grid(grid: object) -> Grid:
    """``grid`` itself, if it is one of the three kinds.

    Raises:
        InputError: it is something else.
    """
    if isinstance(grid, ReceptiveField) or (isinstance(grid, str) and grid in ("half_pixel", "align_corners")):
        return grid
    raise InputError(f"grid: expected 'half_pixel', 'align_corners' or a ReceptiveField, found {grid!r}")


def axis_table(grid: Grid, source: int, output: int, axis: int) -> AxisTable:
    """The table of one axis.

    ``half_pixel`` has the geometry of ``F.interpolate(mode="bilinear",
    align_corners=False)``, ``align_corners`` that of ``align_corners=True``.
    Both are computed in integers, so no rounding moves an index; the fraction
    is rounded once.

    Args:
        grid: ``"half_pixel"``, ``"align_corners"`` or a ``ReceptiveField``.
        source: values of the activation map along the axis, at least 1.
        output: pixels of the mask along the axis.
        axis: 0 for y, 1 for x (a receptive field may differ between them).

    Raises:
        InputError: the grid is none of the three.
    """
    grid = check_grid(grid)
    i = np.arange(output, dtype=np.int64)
    if isinstance(grid, ReceptiveField):
        offset, stride, image = grid.numbers()[axis::2]
        place = np.clip(((i + 0.5) * image / output - 0.5 - offset) / stride, 0, source - 1)
        index = np.floor(place).astype(np.int64)
        fraction = (place - index).astype(np.float32)
    else:
        if grid == "half_pixel":
            numerator, denominator = np.maximum((2 * i + 1) * source - output, 0), 2 * output
        else:
            numerator, denominator = i * (source - 1), max(output - 1, 1)
        index = numerator // denominator
        fraction = (numerator % denominator / denominator).astype(np.float32)

    last = index >= source - 1
    index[last], fraction[last] = source - 1, 0
    up = fraction > _LARGEST_FRACTION
    index[up], fraction[up] = index[up] + 1, 0
    return AxisTable(index.astype(np.int32), fraction)
