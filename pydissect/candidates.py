"""The activations of a batch that can still matter once the thresholds are known: sparse, and exact.

A unit's bound is a level that its final threshold does not fall below. A source cell whose
four corners are all at or below the threshold holds no pixel of the unit mask, so the values
above the bound and their neighbours on the map, which are the other corners of their cells,
are all that the counts depend on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from . import reference

LOWEST_FINITE = {
    torch.float32: float(torch.nextafter(torch.tensor(-reference.NONFINITE), torch.tensor(0.0))),
    torch.float16: torch.finfo(torch.float16).min,
    torch.bfloat16: float(
        torch.nextafter(torch.tensor(-reference.NONFINITE, dtype=torch.bfloat16), torch.tensor(0.0).bfloat16())
    ),
}
"""What stands for a value that is no candidate: no finite threshold lies below it."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of ``N`` images.

    Attributes:
        shape: ``(N, U, h, w)`` of the activations that they are of.
        offsets: ``[N + 1]`` int64: image ``n`` has the candidates ``[n]`` to ``[n + 1]``.
        places: ``[M]`` int32, where each lies among its image's ``U * h * w`` values; rising within an image.
        values: ``[M]`` in the dtype of the activations.
    """

    shape: tuple[int, int, int, int]
    offsets: Tensor
    places: Tensor
    values: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors())

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """``offsets``, ``places`` and ``values``."""
        return self.offsets, self.places, self.values

    def to(self, device: str | torch.device) -> "Candidates":
        """The same on another device."""
        return Candidates(self.shape, *(tensor.to(device) for tensor in self.tensors()))


@dataclass(frozen=True)
class Peaks:
    """The largest activation of each map of a batch, where it exceeds a bound of its unit.

    Attributes:
        values: ``[N, U]`` fp32, -inf where none does; non-finite activations are none.
        places: ``[N, U]`` int32, ``y * w + x`` of the first that is as large.
    """

    values: Tensor
    places: Tensor
