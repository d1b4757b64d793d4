"""The images that excite each unit most."""

import torch
from torch import Tensor

from .candidates import Peaks


class TopImages:
    """For each unit the images with the largest activations, and where on the map these are.

    Images of the same largest activation rank in their order; non-finite activations do not count.

    Args:
        number: images a unit.
        units: ``U``.

    Attributes:
        values: ``[U, number]`` fp32, the images' largest activations, falling; -inf beyond the images that there are.
        images: ``[U, number]`` int64, the images' numbers.
        places: ``[U, number]`` int32, ``y * w + x`` on the map; the first, if several are as large.
    """

    def __init__(self, number: int, units: int) -> None:
        self.values = torch.full((units, number), -torch.inf)
        self.images = torch.zeros((units, number), dtype=torch.int64)
        self.places = torch.zeros((units, number), dtype=torch.int32)

    def bound(self) -> Tensor:
        """``[U]`` fp32: an image of which no activation exceeds it does not rank."""
        units, number = self.values.shape
        return self.values[:, -1].contiguous() if number else torch.full((units,), torch.inf)

    def update(self, peaks: Peaks, first_image: int) -> None:
        """Takes up the peaks above :meth:`bound` of a batch whose images start at number ``first_image``."""
        images = torch.arange(first_image, first_image + len(peaks.values)).expand(len(self.values), -1)
        self._take(peaks.values.T.cpu(), images, peaks.places.T.cpu())

    def merge(self, other: "TopImages", first_image: int = 0) -> "TopImages":
        """Takes up what another has found among other images, its image 0 being number ``first_image``; returns itself.

        Args:
            other: of as many units.
            first_image: as said.
        """
        self._take(other.values, other.images + first_image, other.places)
        return self

    def _take(self, values: Tensor, images: Tensor, places: Tensor) -> None:
        number = self.values.shape[1]
        values, images, places = (
            torch.cat(pair, dim=1) for pair in ((self.values, values), (self.images, images), (self.places, places))
        )
        by_image = images.argsort(dim=1, stable=True)
        by_value = values.gather(1, by_image).argsort(dim=1, descending=True, stable=True)
        order = by_image.gather(1, by_value)[:, :number]
        self.values, self.images, self.places = (tensor.gather(1, order) for tensor in (values, images, places))
