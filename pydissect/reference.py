"""The specification: every number pydissect prints, in the shortest plain torch.

No speed tricks. All backends must give the same integers as these functions,
which the tests compare with ``==``. Everything is IEEE fp32, each operation
rounded on its own; counts are int64. Call it with denormal numbers kept
(``torch.set_flush_denormal(False)``, torch's default).
"""

from fractions import Fraction

import torch
from torch import Tensor

from .grids import Grid, axis_table

NONFINITE = 2.0**126
"""Values of this magnitude or more, infinities and NaN count as non-finite."""


def finite_or_nan(acts: Tensor) -> Tensor:
    """``acts`` as fp32, its non-finite values replaced by NaN."""
    acts = acts.float()
    return torch.where(acts.abs() < NONFINITE, acts, torch.nan)


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation, monotone in ``t``: ``a + t * (b - a)``, three roundings."""
    return a + t * (b - a)


def upsample(acts: Tensor, size: tuple[int, int], grid: Grid = "half_pixel") -> Tensor:
    """Bilinear upsampling of ``[..., h, w]`` to ``[..., H, W]`` on a sampling grid.

    Equivalent, up to rounding, to ``F.interpolate(acts, size, mode="bilinear",
    align_corners=grid == "align_corners")``.
    """
    (y0, ty), (x0, tx) = (
        (torch.from_numpy(table.indices).to(acts.device).long(), torch.from_numpy(table.fractions).to(acts))
        for table in (axis_table(grid, acts.shape[-2 + axis], size[axis], axis) for axis in (0, 1))
    )
    y1, x1 = (y0 + 1).clamp(max=acts.shape[-2] - 1), (x0 + 1).clamp(max=acts.shape[-1] - 1)
    rows = lerp(acts[..., y0, :], acts[..., y1, :], ty[:, None])
    return lerp(rows[..., x0], rows[..., x1], tx)


def rank(quantile: object, n_values: int) -> int:
    """``k``: how many of ``n_values`` may exceed the threshold, in exact arithmetic."""
    return int(Fraction(str(quantile)) * n_values)


def thresholds(acts: Tensor, quantile: object = 0.005) -> Tensor:
    """``T[u]``, the ``(k + 1)``-th largest of the ``N * h * w`` activations of a unit: ``[N, U, h, w] -> [U]``.

    Bau et al. 2017, section 2.2: ``P(a > T) = quantile``. Non-finite values rank as -inf.
    """
    values = finite_or_nan(acts).nan_to_num(nan=-torch.inf).transpose(0, 1).flatten(1)
    k = rank(quantile, values.shape[1])
    return values.sort(dim=1, descending=True).values[:, k] + 0.0  # -0.0 + 0.0 is 0.0


def counts(
    acts: Tensor,  # [N, U, h, w] fp32 | fp16 | bf16
    masks: Tensor,  # [N, C, H, W] bool
    threshold: Tensor,  # [L, U] fp32
    annotated: Tensor,  # [N, K] bool
    grid: Grid = "half_pixel",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The integers behind the IoU, with ``nonfinite="off"``.

    Returns:
        ``intersection [L, U, C]``, ``unit_area [L, U, K]``, ``unit_area_all
        [L, U]`` and ``concept_area [C]``, all int64.
    """
    pixels = upsample(finite_or_nan(acts), (masks.shape[-2], masks.shape[-1]), grid)
    intersection, area = [], []
    for level in threshold:
        on = (pixels > level[:, None, None]).flatten(2).long()  # [N, U, H*W]
        intersection.append(torch.einsum("nup,ncp->uc", on, masks.flatten(2).long()))
        area.append(on.sum(2))  # [N, U]
    areas = torch.stack(area)
    unit_area = torch.einsum("lnu,nk->luk", areas, annotated.long())
    return torch.stack(intersection), unit_area, areas.sum(1), masks.long().sum((0, 2, 3))


def iou(intersection: Tensor, unit_area: Tensor, concept_area: Tensor) -> Tensor:
    """IoU in float64 from integers that broadcast against each other; 0 where the union is empty.

    Bau et al. 2017, equation 1. ``unit_area`` is that over the images in which the
    concept's category is annotated (``union="category"``) or over all.
    """
    union = unit_area + concept_area - intersection
    return torch.where(union > 0, intersection.double() / union.double(), 0.0)
