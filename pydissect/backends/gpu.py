"""What the backends for GPUs share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..largest import largest
from . import NO_IMAGE, Selection

_MOST_HELD = 2**30  # leaves room for those that have no place yet


def no_image(device: torch.device) -> Tensor:
    """The place of the first non-finite map for kernels to lower, an int64 scalar."""
    return torch.full((), NO_IMAGE, dtype=torch.int64, device=device)


def check_capacity(selection: Selection) -> int:
    """How many values a unit's buffer holds.

    Raises:
        InputError: they are more than kernels number in 32 bits.
    """
    capacity = selection.values.shape[1]
    if capacity > _MOST_HELD:
        raise InputError(f"quantile: {capacity} values to be held for each unit are too many for this backend")
    return capacity


def map_axes(acts: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size and stride of a map's rows and of its columns, as it is best read where the order of values does not matter.

    The columns lie nearer together; where the rows follow one another without a gap, they are one.
    """
    (rows, stride_row), (columns, stride_column) = sorted(
        [(size, stride if size > 1 else 0) for size, stride in zip(acts.shape[2:], acts.stride()[2:], strict=True)],
        key=lambda axis: axis[1],
        reverse=True,
    )
    if columns == 1:
        return (1, 0), (rows, stride_row)
    if rows == 1 or stride_row == columns * stride_column:
        return (1, 0), (rows * columns, stride_column)
    return (rows, stride_row), (columns, stride_column)


class TorchRanks:
    """Ranks by torch alone: they are asked for once, when all values are there."""

    def values_of_ranks(self, selection: Selection, ranks: Sequence[int]) -> Tensor:
        """The values of those ranks among the values held."""
        kept = largest(selection.held(), selection.keep)
        return torch.stack([kept[:, k] for k in ranks])
