"""Activations that no cache holds: distinct batches in one large buffer, visited in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import Counts, PackedMasks, Tally, ThresholdFinder
from .memory import make_buffer
from .workloads import QUANTILE, Format

Batch = tuple[Tensor, PackedMasks]


@dataclass
class Stream:
    """Batches of one format in one buffer.

    Attributes:
        buffer: all activations, bytes.
        batches: ``[N, U, h, w]``, which lie in the buffer, and their masks.
        threshold: ``[U]``, exact over the batches.
    """

    buffer: Tensor
    batches: list[Batch]
    threshold: Tensor

    @property
    def maps(self) -> int:
        """Activation maps in all."""
        return sum(acts.shape[0] * acts.shape[1] for acts, _ in self.batches)

    def count(self) -> Counts:
        """Counts all batches."""
        masks = self.batches[0][1]
        tally = Tally(self.threshold, masks.num_concepts, masks.categories)
        for batch in self.batches:
            tally.update(*batch)
        return tally.compute()


def lay(batches: Sequence[Batch], layout: Format, min_bytes: int, pages: str) -> Stream:
    """Copies batches into a buffer, from the first again and again until it holds ``min_bytes``.

    Args:
        batches: activations ``[N, U, h, w]`` fp32 and their masks.
        layout: of the copies.
        min_bytes: of activations in all; every batch is copied at least once.
        pages: see :func:`make_buffer`.
    """
    chosen: list[Batch] = []
    size = 0
    while len(chosen) < len(batches) or size < min_bytes:
        batch = batches[len(chosen) % len(batches)]
        chosen.append(batch)
        size += batch[0].numel() * layout.dtype.itemsize
    buffer = make_buffer(size, pages)
    values = buffer.view(layout.dtype)
    laid = []
    for acts, masks in chosen:
        n, units, h, w = acts.shape
        if layout.channels_last:
            place = values[: acts.numel()].view(n, h, w, units).permute(0, 3, 1, 2)
        else:
            place = values[: acts.numel()].view(n, units, h, w)
        values = values[acts.numel() :]
        laid.append((place.copy_(acts), masks))
    finder = ThresholdFinder(sum(len(acts) * acts.shape[2] * acts.shape[3] for acts, _ in laid), QUANTILE)
    for acts, _ in laid:
        finder.update(acts)
    return Stream(buffer, laid, finder.compute())


def leading_images(batches: Sequence[Batch], min_maps: int) -> tuple[Tensor, Tensor]:
    """The first images with at least ``min_maps`` maps in all: activations and bool masks ``[N, C, H, W]``."""
    acts, masks, missing = [], [], -(-min_maps // batches[0][0].shape[1])
    for batch, packed in batches:
        acts.append(batch[:missing])
        masks.append(packed[:missing].unpack())
        missing -= len(acts[-1])
        if missing <= 0:
            break
    return torch.cat(acts), torch.cat(masks)
