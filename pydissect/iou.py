"""The functions to call from other code: counts and IoU of activations against masks, at once."""

from typing import Any

import torch
from torch import Tensor

from .acts import as_acts
from .arrays import same_kind
from .backends import choose_backend
from .counts import Counts, check_union
from .grids import Grid, check_grid
from .masks import PackedMasks, as_masks
from .nonfinite import check_policy
from .op import counts_in_graph
from .tally import Tally, as_levels, check_batch
from .thresholds import Quantiles, quantile_thresholds


def _batch(acts: Any, masks: Any) -> tuple[Tensor, PackedMasks]:
    """Both, of the same images on the same device."""
    tensor = as_acts(acts)
    packed = as_masks(masks)
    check_batch(tensor, packed)
    return tensor, packed


def count(
    acts: Any,  # [N, U, h, w] fp32 | fp16 | bf16
    masks: Any,  # PackedMasks | bool [N, C, H, W] | integer [N, H, W]
    threshold: Any,  # number | [U] | [L, U]
    *,
    grid: Grid = "half_pixel",
    nonfinite: str = "error",
    backend: str = "auto",
) -> Counts:
    """The integers behind the IoU: pixels of unit masks, concept masks, and both.

    Within ``torch.compile`` and ``torch.export`` it is one node, ``torch.ops.pydissect.count``; there ``masks`` are
    ``PackedMasks`` and ``threshold`` is an fp32 tensor.

    Equivalent, up to the rounding of the interpolation, to::

        on = F.interpolate(acts.float(), (H, W), mode="bilinear") > threshold[:, None, None]
        intersection = torch.einsum("nuyx,ncyx->uc", on.double(), masks.double()).long()

    Args:
        acts: ``[N, U, h, w]`` fp32, fp16 or bf16, any strides; torch, NumPy or DLPack.
        masks: see :func:`fast_iou`.
        threshold: a number, one for each unit, or ``[L, U]`` for several levels in one pass;
            rounded to fp32.
        grid: see :func:`fast_iou`.
        nonfinite: see :func:`fast_iou`.
        backend: see :func:`fast_iou`.

    Returns:
        ``Counts`` of torch tensors on the device of ``acts``; with ``[L, U]`` thresholds,
        those of units have a leading axis ``L``.

    Raises:
        InputError: shapes, dtypes or devices that do not match, or a non-finite activation.
    """
    if torch.compiler.is_compiling():
        return counts_in_graph(acts, masks, threshold, grid, nonfinite, backend)
    tensor, packed = _batch(acts, masks)
    levels, several = as_levels(threshold, tensor.shape[1])
    tally = Tally(
        levels if several else levels[0],
        packed.num_concepts,
        packed.categories,
        grid=grid,
        nonfinite=nonfinite,
        backend=backend,
    )
    tally.update(tensor, packed)
    return tally.compute()


def fast_iou(
    acts: Any,  # [N, U, h, w] fp32 | fp16 | bf16
    masks: Any,  # PackedMasks | bool [N, C, H, W] | integer [N, H, W]
    *,
    quantile: Quantiles = 0.005,
    threshold: Any = None,  # number | [U] | [L, U]
    grid: Grid = "half_pixel",
    union: str = "category",
    nonfinite: str = "error",
    backend: str = "auto",
) -> Any:  # [U, C] | [L, U, C] float64
    """IoU of every unit with every concept (Bau et al. 2017, equation 1).

    Equivalent, up to the rounding of the interpolation, to::

        values = acts.float().transpose(0, 1).flatten(1)
        T = values.sort(dim=1, descending=True).values[:, int(quantile * values.shape[1])]
        on = F.interpolate(acts.float(), (H, W), mode="bilinear") > T[:, None, None]
        both = torch.einsum("nuyx,ncyx->uc", on.double(), masks.double())
        iou = both / (on.sum((0, 2, 3))[:, None] + masks.sum((0, 2, 3)) - both)

    Args:
        acts: ``[N, U, h, w]`` fp32, fp16 or bf16, any strides; torch, NumPy or DLPack.
        masks: concept masks of the same images, ``PackedMasks``, bool ``[N, C, H, W]``, or
            integer label maps ``[N, H, W]`` (0 = unlabelled; column ``c`` is label ``c + 1``).
            Bool masks and label maps have one category, annotated in every image.
        quantile: share of a unit's activations above its threshold, in (0, 1); a sequence
            gives several levels. Used when no threshold is given.
        threshold: a number, one for each unit, or ``[L, U]`` for several levels in one pass;
            rounded to fp32.
        grid: where a mask's pixels lie between the activations: ``"half_pixel"`` (as
            ``F.interpolate``), ``"align_corners"``, or a :class:`ReceptiveField`.
        union: ``"category"`` takes a unit's area over the images in which the concept's
            category is annotated (the paper's way), ``"all"`` over all images.
        nonfinite: ``"error"`` refuses NaN, infinite or huge (``>= 2**126``) activations, naming
            unit and image; ``"off"`` takes such values as -inf in thresholds, and pixels that
            touch one are off.
        backend: ``"auto"`` (the fastest that works on the device of ``acts``), ``"cpu"``, ``"cuda"``,
            ``"cupy"``, ``"triton"`` or ``"reference"``. The environment variable ``PYDISSECT_BACKEND`` decides for
            ``"auto"``.

    Returns:
        float64 ``[U, C]``, or ``[L, U, C]`` for several levels; 0 where the union is empty. Of
        the caller's kind, on the caller's device.

    Raises:
        InputError: shapes, dtypes or devices that do not match, or a non-finite activation.
    """
    # All of it before the thresholds, which take a while.
    tensor, packed = _batch(acts, masks)
    check_grid(grid)
    check_union(union)
    check_policy(nonfinite)
    choose_backend(backend, tensor.device)
    if threshold is None:
        threshold = quantile_thresholds(tensor, quantile, backend=backend)
    counts = count(tensor, packed, threshold, grid=grid, nonfinite=nonfinite, backend=backend)
    return same_kind(acts)(counts.iou(union))
