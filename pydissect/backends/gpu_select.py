"""Selecting the largest values with torch alone, for GPU backends: exact, and without waiting for the device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from ..largest import largest
from . import NO_IMAGE, Selection

_SLICE_BYTES = 2**26  # of a slice's values as fp32; as much memory is needed a few times over


def select(acts: Tensor, selection: Selection) -> Tensor:
    """Adds to the selection what a batch ``[N, U, h, w]`` holds of it.

    Returns:
        The smallest ``n * U + u`` of a map with a non-finite value, or ``NO_IMAGE``; int64 ``[]``.
    """
    images, units, h, w = acts.shape
    first = torch.full((), NO_IMAGE, dtype=torch.int64, device=acts.device)
    if units == 0:
        return first
    # What is held is sorted anew with every slice, so a slice should be no smaller.
    step = max(_SLICE_BYTES // (4 * units * h * w), selection.keep // (h * w), 1)
    for start in range(0, images, step):
        part = reference.finite_or_nan(acts[start : start + step])  # [n, U, h, w]
        nonfinite = part.isnan().flatten(2).any(2).flatten()
        places = torch.arange(start * units, start * units + len(nonfinite), device=acts.device)
        first = torch.minimum(first, torch.where(nonfinite, places, NO_IMAGE).amin())
        _take_up(part.nan_to_num(nan=-torch.inf).transpose(0, 1).flatten(1), selection)
    return first


def _take_up(values: Tensor, selection: Selection) -> None:
    """Keeps the largest of what is held and of ``values [U, any]``, of which -inf are no values."""
    values = torch.where(values > selection.bound[:, None], values, -torch.inf)
    joined = torch.cat([_held(selection), values], dim=1)
    kept = largest(joined, min(selection.keep, joined.shape[1]))
    selection.values[:, : kept.shape[1]] = kept
    selection.fill.copy_((kept > -torch.inf).sum(1))
    if kept.shape[1] == selection.keep:
        torch.maximum(selection.bound, kept[:, -1], out=selection.bound)  # -inf as long as fewer are held


def _held(selection: Selection) -> Tensor:
    """``[U, capacity]``, -inf beyond what is held."""
    places = torch.arange(selection.values.shape[1], device=selection.values.device)
    return torch.where(places < selection.fill[:, None], selection.values, -torch.inf)


def values_of_ranks(selection: Selection, ranks: Sequence[int]) -> Tensor:
    """``[len(ranks), U]`` fp32: the ``(k + 1)``-th largest of the values held, or -inf if there are fewer."""
    kept = largest(_held(selection), selection.keep)
    return torch.stack([kept[:, k] for k in ranks])
