"""Counting as one operation of torch, ``torch.ops.pydissect.count``, for ``torch.compile`` and ``torch.export``.

The same backends do the work; outside of a compiled graph they are called directly, which costs less.
Torch knows the operation once this module is imported: before an exported graph that has it is loaded.
"""

from typing import Any

import torch
from torch import Tensor

from .backends import NO_IMAGE, CountArguments, Sums, choose_backend
from .categories import Categories
from .counts import Counts
from .errors import InputError
from .grids import Grid, ReceptiveField
from .masks import PackedMasks
from .nonfinite import check_policy


@torch.library.custom_op("pydissect::count", mutates_args=())
def count_op(
    acts: Tensor,
    threshold: Tensor,
    bitmap_ranges: Tensor,
    bitmap_concepts: Tensor,
    bitmap_pixels: Tensor,
    bitmaps: Tensor,
    whole_ranges: Tensor,
    whole_concepts: Tensor,
    annotated: Tensor,
    size: list[int],
    num_concepts: int,
    grid: str,
    field: list[float],
    nonfinite_off: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The counts of a batch.

    Args:
        acts: ``[N, U, h, w]`` fp32, fp16 or bf16, any strides.
        threshold: ``[L, U]`` fp32; one that is NaN is above every value.
        bitmap_ranges: this and the six that follow are the tensors of :class:`pydissect.PackedMasks`.
        bitmap_concepts: see there.
        bitmap_pixels: see there.
        bitmaps: see there.
        whole_ranges: see there.
        whole_concepts: see there.
        annotated: see there.
        size: ``H, W`` of the masks.
        num_concepts: ``C``.
        grid: ``"half_pixel"``, ``"align_corners"``, or ``"receptive_field"`` with a ``field``.
        field: offset, stride and image of the receptive field, each down and across; or empty.
        nonfinite_off: see :class:`pydissect.backends.CountArguments`.
        backend: a backend's name or ``"auto"``.

    Returns:
        Of int64: intersection ``[L, U, C]``, unit area ``[L, U, K]``, unit area over all images ``[L, U]``, concept
        area ``[C]``, and the first map with a non-finite value as ``n * U + u``, ``NO_IMAGE`` if there is none.

    Raises:
        InputError: the backend cannot be had.
    """
    categories = Categories(
        tuple(map(str, range(annotated.shape[1]))), torch.zeros(num_concepts, dtype=torch.int64, device=acts.device)
    )
    masks = PackedMasks(
        size=(size[0], size[1]),
        categories=categories,
        bitmap_ranges=bitmap_ranges,
        bitmap_concepts=bitmap_concepts,
        bitmap_pixels=bitmap_pixels,
        bitmaps=bitmaps,
        whole_ranges=whole_ranges,
        whole_concepts=whole_concepts,
        annotated=annotated,
    )
    layout: Grid = grid
    if field:
        offset, stride, image = ((field[i], field[i + 1]) for i in (0, 2, 4))
        layout = ReceptiveField(offset, stride, image)
    sums = Sums.zeros(len(threshold), acts.shape[1], num_concepts, annotated.shape[1], acts.device)
    arguments = CountArguments(acts, masks, threshold.contiguous(), layout, nonfinite_off)
    place = choose_backend(backend, acts.device).count(arguments, sums)
    if not isinstance(place, Tensor):
        place = torch.tensor(place, device=acts.device)
    return sums.intersection, sums.unit_area, sums.unit_area_all, sums.concept_area, place


@count_op.register_fake
def _(
    acts: Tensor,
    threshold: Tensor,
    bitmap_ranges: Tensor,
    bitmap_concepts: Tensor,
    bitmap_pixels: Tensor,
    bitmaps: Tensor,
    whole_ranges: Tensor,
    whole_concepts: Tensor,
    annotated: Tensor,
    size: list[int],
    num_concepts: int,
    grid: str,
    field: list[float],
    nonfinite_off: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    levels, units = threshold.shape[0], acts.shape[1]

    def empty(*shape: int) -> Tensor:
        return acts.new_empty(shape, dtype=torch.int64)

    return (
        empty(levels, units, num_concepts),
        empty(levels, units, annotated.shape[1]),
        empty(levels, units),
        empty(num_concepts),
        empty(),
    )


def op_arguments(
    acts: Tensor, masks: PackedMasks, threshold: Tensor, grid: Grid, nonfinite_off: bool, backend: str
) -> tuple[Any, ...]:
    """The operation's arguments, from those of :class:`pydissect.backends.CountArguments` and a backend's name."""
    return (
        acts,
        threshold,
        masks.bitmap_ranges,
        masks.bitmap_concepts,
        masks.bitmap_pixels,
        masks.bitmaps,
        masks.whole_ranges,
        masks.whole_concepts,
        masks.annotated,
        list(masks.size),
        masks.num_concepts,
        grid if isinstance(grid, str) else "receptive_field",
        [] if isinstance(grid, str) else grid.numbers(),
        nonfinite_off,
        backend,
    )


def counts_in_graph(
    acts: Tensor, masks: PackedMasks, threshold: Tensor, grid: Grid, nonfinite: str, backend: str
) -> Counts:
    """:func:`pydissect.count` as one node of a graph that is being traced.

    Values cannot be looked at there: a NaN among the thresholds leaves its unit without pixels at its level, and what
    ``nonfinite="error"`` finds is raised when the graph runs.

    Args:
        acts: ``[N, U, h, w]`` fp32, fp16 or bf16.
        masks: packed, of the same images, on the same device.
        threshold: fp32 ``[U]`` or ``[L, U]``.
        grid: see :func:`pydissect.fast_iou`.
        nonfinite: see :func:`pydissect.fast_iou`.
        backend: see :func:`pydissect.fast_iou`.

    Raises:
        InputError: a wrong shape or dtype.
    """
    nonfinite_off = check_policy(nonfinite)
    if not isinstance(threshold, Tensor) or threshold.dtype != torch.float32 or threshold.ndim not in (1, 2):
        raise InputError("threshold: expected an fp32 tensor [U] or [L, U] in a compiled graph")
    if threshold.shape[-1] != acts.shape[1]:
        raise InputError(f"threshold: expected one for each of the {acts.shape[1]} units")
    levels = threshold if threshold.ndim == 2 else threshold[None]
    if len(levels) == 0:
        raise InputError("threshold: expected at least one level")
    *sums, place = count_op(*op_arguments(acts, masks, levels, grid, nonfinite_off, backend))
    if not nonfinite_off:
        torch._assert_async(
            place == NO_IMAGE, "acts: a non-finite activation (NaN, infinite or of magnitude 2^126 or more)"
        )
    intersection, unit_area, unit_area_all, concept_area = sums
    if threshold.ndim == 1:
        intersection, unit_area, unit_area_all = intersection[0], unit_area[0], unit_area_all[0]
    return Counts(intersection, unit_area, unit_area_all, concept_area, masks.categories)
