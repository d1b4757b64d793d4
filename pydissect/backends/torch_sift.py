"""Sifting (:mod:`pydissect.candidates`) with torch alone: for backends without kernels for it, on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import reference
from ..candidates import LOWEST_FINITE, Candidates, Peaks


class TorchSifting:
    """What backends share that sift with torch. See :class:`pydissect.backends.Backend`."""

    def sift(self, acts: Tensor, bound: Tensor, peak_bound: Tensor) -> tuple[Candidates, Peaks]:
        """The candidates of a batch, and its maps' peaks."""
        images, units, h, w = acts.shape
        values = reference.finite_or_nan(acts)
        hot = values > bound[:, None, None]
        near = F.max_pool2d(hot.float(), 3, stride=1, padding=1) > 0 if images and units else hot
        wanted = (near | (bound == -torch.inf)[:, None, None]).flatten(1)  # [N, U * h * w]
        candidates = _candidates((images, units, h, w), wanted, acts.flatten(1))
        if images == 0 or units == 0:
            return candidates, Peaks(values.new_empty((images, units)), values.new_empty((images, units)).int())
        largest, places = values.nan_to_num(nan=-torch.inf).flatten(2).max(2)
        # Of equals, max may take any.
        first = (values.flatten(2) == largest[:, :, None]).int().argmax(2)
        found = largest > peak_bound
        peaks = torch.where(found, largest, -torch.inf)
        return candidates, Peaks(peaks, torch.where(found, first, torch.zeros_like(places)).int())

    def prune(self, candidates: Candidates, bound: Tensor) -> Candidates:
        """Those candidates that are some under a higher bound too."""
        acts = self.spread(candidates)
        return self.sift(acts, bound, torch.full_like(bound, torch.inf))[0]

    def spread(self, candidates: Candidates) -> Tensor:
        """``[N, U, h, w]``, contiguous: the lowest finite value wherever there is no candidate."""
        images, units, h, w = candidates.shape
        values = candidates.values
        acts = torch.full(
            (images, units * h * w), LOWEST_FINITE[values.dtype], dtype=values.dtype, device=values.device
        )
        lengths = candidates.offsets.diff()
        numbers = torch.arange(images, device=values.device)
        # Told how many, it does not wait for the device.
        image = torch.repeat_interleave(numbers, lengths, output_size=len(values))
        acts[image, candidates.places.long()] = values
        return acts.view(images, units, h, w)


def _candidates(shape: tuple[int, int, int, int], wanted: Tensor, values: Tensor) -> Candidates:
    counts = wanted.sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    places = wanted.nonzero()[:, 1].int()
    return Candidates(shape, offsets, places, values[wanted])
