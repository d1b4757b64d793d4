"""Selecting the largest values with torch alone, for GPU backends: exact, and without waiting for the device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from ..largest import largest
from . import NO_IMAGE, Selection
from .reference import first_nan

_SLICE_BYTES = 2**26  # of a slice's values as fp32; as much memory is needed a few times over


class TorchSelection:
    """What backends share that only count with kernels of their own. See :class:`pydissect.backends.Backend`."""

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        """Adds to the selection what a batch holds of it."""
        images, units, h, w = acts.shape
        first = torch.full((), NO_IMAGE, dtype=torch.int64, device=acts.device)
        if units == 0:
            return first
        # What is held is sorted anew with every slice, so a slice should be no smaller.
        step = max(_SLICE_BYTES // (4 * units * h * w), selection.keep // (h * w), 1)
        for start in range(0, images, step):
            part = reference.finite_or_nan(acts[start : start + step])  # [n, U, h, w]
            place = first_nan(part)
            first = torch.minimum(first, torch.where(place == NO_IMAGE, place, place + start * units))
            _take_up(part.nan_to_num(nan=-torch.inf).transpose(0, 1).flatten(1), selection)
        return first

    def values_of_ranks(self, selection: Selection, ranks: Sequence[int]) -> Tensor:
        """The values of those ranks among the values held."""
        kept = largest(selection.held(), selection.keep)
        return torch.stack([kept[:, k] for k in ranks])


def _take_up(values: Tensor, selection: Selection) -> None:
    """Keeps the largest of what is held and of ``values [U, any]``, of which -inf are no values."""
    wanted = torch.where(values > selection.bound[:, None], values, -torch.inf)
    joined = torch.cat([selection.held(), wanted], dim=1)
    kept = largest(joined, min(selection.keep, joined.shape[1]))
    selection.values[:, : kept.shape[1]] = kept
    selection.fill.copy_((kept > -torch.inf).sum(1))
    if kept.shape[1] == selection.keep:
        selection.bound.copy_(torch.where(selection.fill == selection.keep, kept[:, -1], selection.bound))
