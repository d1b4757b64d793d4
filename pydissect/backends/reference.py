"""The reference as a backend: slow, on any device that torch has, and right by definition."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from . import NO_IMAGE, CountArguments, Selection, Sums
from .torch_sift import TorchSifting


def first_nonfinite(acts: Tensor) -> Tensor:
    """The smallest ``n * U + u`` of a map with a non-finite value, or ``NO_IMAGE``; an int64 scalar on the device."""
    return first_nan(reference.finite_or_nan(acts))


def first_nan(acts: Tensor) -> Tensor:
    """The same of activations whose non-finite values are NaN."""
    maps = acts.isnan().flatten(2).any(2).flatten()
    places = torch.arange(len(maps), device=acts.device)
    return torch.where(maps, places, NO_IMAGE).amin() if len(maps) else torch.tensor(NO_IMAGE, device=acts.device)


class ReferenceBackend(TorchSifting):
    """See :class:`pydissect.backends.Backend`."""

    name = "reference"

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""
        if device.type == "cuda" and not torch.cuda.is_available():
            return "torch finds no CUDA device"
        return None

    def details(self) -> str:
        """Torch's version."""
        return f"torch {torch.__version__}"

    def count(self, arguments: CountArguments, sums: Sums) -> Tensor:
        """Adds the counts of a batch to the sums."""
        masks = arguments.masks
        intersection, unit_area, unit_area_all, concept_area = reference.counts(
            arguments.acts, masks.unpack(), arguments.threshold, masks.annotated.bool(), arguments.grid
        )
        sums.intersection += intersection
        sums.unit_area += unit_area
        sums.unit_area_all += unit_area_all
        sums.concept_area += concept_area
        return first_nonfinite(arguments.acts)

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        """Adds to the selection what a batch holds of it."""
        batch = reference.finite_or_nan(acts).transpose(0, 1).flatten(1)
        for u, values in enumerate(batch):
            held = selection.values[u, : int(selection.fill[u])]
            values = torch.cat([held, values[values > selection.bound[u]]])
            if len(values) > selection.keep:
                values = values.topk(selection.keep).values
                selection.bound[u] = values[-1]
            selection.values[u, : len(values)] = values
            selection.fill[u] = len(values)
        return first_nonfinite(acts)

    def values_of_ranks(self, selection: Selection, ranks: Sequence[int]) -> Tensor:
        """The values of those ranks among the values held."""
        return selection.held().sort(dim=1, descending=True).values[:, list(ranks)].T


BACKEND = ReferenceBackend()
