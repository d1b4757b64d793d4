"""What the kernels are compared with: plain torch and NumPy, and the loop that older dissection code runs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .. import reference

Array = npt.NDArray[Any]


def plain_torch(acts: Tensor, masks: Tensor, threshold: Tensor) -> Tensor:  # [N, U, h, w], [N, C, H, W], [U]
    """Intersections ``[U, C]`` fp32: ``F.interpolate``, compare, matrix product.

    Image by image, so that nothing but the maps of one is held, and only the masks that it carries.
    """
    intersection = torch.zeros(acts.shape[1], masks.shape[1], device=acts.device)
    for maps, mask in zip(acts, masks, strict=True):
        carried = mask.flatten(1).any(1)
        on = _unit_masks(maps, threshold, mask.shape[1:])
        intersection[:, carried] += on @ mask[carried].flatten(1).float().T
    return intersection


def plain_torch_of_all(acts: Tensor, masks: Tensor, threshold: Tensor) -> Tensor:
    """The same with every image's masks of all concepts: shapes that depend on no value, as ``torch.compile`` wants."""
    intersection = torch.zeros(acts.shape[1], masks.shape[1], device=acts.device)
    for maps, mask in zip(acts, masks, strict=True):
        on = _unit_masks(maps, threshold, mask.shape[1:])
        intersection += on @ mask.flatten(1).float().T
    return intersection


def _unit_masks(maps: Tensor, threshold: Tensor, size: torch.Size) -> Tensor:  # [U, h, w] -> [U, H * W] fp32
    upsampled = F.interpolate(maps[None].float(), size, mode="bilinear")[0]
    return (upsampled > threshold[:, None, None]).flatten(1).float()


class Annotation(NamedTuple):
    """The labels of an image as the older code has them."""

    layers: Array  # [L, H, W] of concept + 1, 0 = unlabelled
    whole: Array  # concepts that cover the image


def annotation(masks: Tensor) -> Annotation:
    """Bool masks ``[C, H, W]`` as label maps, in as few layers as taking the concepts in turn gives."""
    pixels = masks.flatten(1)
    whole = pixels.all(1)
    layers: list[Tensor] = []
    for concept in (pixels.any(1) & ~whole).nonzero().flatten().tolist():
        mask = masks[concept]
        layer = next((layer for layer in layers if not layer[mask].any()), None)
        if layer is None:
            layer = torch.zeros(masks.shape[1:], dtype=torch.int64)
            layers.append(layer)
        layer[mask] = concept + 1
    stacked = torch.stack(layers) if layers else torch.zeros((0, *masks.shape[1:]), dtype=torch.int64)
    return Annotation(stacked.numpy(), whole.nonzero().flatten().numpy())


def older_loop(
    acts: Array,  # [N, U, h, w] fp32
    annotations: Sequence[Annotation],
    threshold: Array,  # [U]
    num_concepts: int,
) -> Array:  # [U, C] int64
    """Intersections by one resize with PIL and one histogram a label layer, for each live map in turn."""
    intersection = np.zeros((acts.shape[1], num_concepts + 1), np.int64)
    for maps, (layers, whole) in zip(acts, annotations, strict=True):
        size = layers.shape[2], layers.shape[1]
        for u in np.flatnonzero(maps.max((1, 2)) > threshold):
            on = np.asarray(Image.fromarray(maps[u]).resize(size, Image.Resampling.BILINEAR)) > threshold[u]
            for labels in layers:
                intersection[u] += np.bincount(labels[on], minlength=num_concepts + 1)
            intersection[u, whole + 1] += np.count_nonzero(on)
    return intersection[:, 1:]


def gathered_thresholds(batches: Sequence[Tensor], quantile: float) -> Tensor:
    """Thresholds ``[U]`` from all the values at once, held and given to ``torch.topk``."""
    values = torch.cat([batch.transpose(0, 1).flatten(1) for batch in batches], dim=1)
    k = reference.rank(quantile, values.shape[1])
    return values.topk(k + 1).values[:, k]


def packed_labels(maps: Array) -> list[Array]:
    """Bitmaps of label maps ``[N, layers, H, W]``, label by label with ``np.packbits``."""
    return [
        np.packbits((image == label).any(0), axis=-1, bitorder="little")
        for image in maps
        for label in np.unique(image)
        if label
    ]


def packed_bool(masks: Array) -> list[Array]:
    """Bitmaps of bool masks ``[N, C, H, W]``, concept by concept with ``np.packbits``."""
    return [np.packbits(mask, axis=-1, bitorder="little") for image in masks for mask in image]
