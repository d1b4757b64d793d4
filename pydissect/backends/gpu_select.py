"""Streaming selection of the largest values in plain torch, without waiting for the device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from ..thresholds import largest
from . import Selection
from .reference import first_nonfinite


def _held(selection: Selection) -> Tensor:
    """``[U, capacity]``, -inf where no value is held."""
    places = torch.arange(selection.values.shape[1], device=selection.fill.device)
    return torch.where(places < selection.fill[:, None], selection.values, -torch.inf)


def select(acts: Tensor, selection: Selection) -> Tensor:
    """Adds to the selection what a batch holds of it. See :class:`pydissect.backends.Backend`."""
    batch = reference.finite_or_nan(acts).transpose(0, 1).flatten(1)
    candidates = torch.cat([_held(selection), torch.where(batch.isnan(), -torch.inf, batch)], dim=1)
    values = largest(candidates, selection.keep)  # the capacity alone is larger
    selection.values[:, : selection.keep] = values
    selection.fill.copy_((values > -torch.inf).sum(1))
    selection.bound.copy_(values[:, -1])
    return first_nonfinite(acts)


def values_of_ranks(selection: Selection, ranks: Sequence[int]) -> Tensor:
    """The values of those ranks among the values held. See :class:`pydissect.backends.Backend`."""
    return largest(_held(selection), selection.keep)[:, list(ranks)].T.contiguous()
