"""Packing masks on the device that they are on, in operations of torch: what ``packing`` does on the CPU."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .packing import Vocabulary, row_bytes

_CHUNK_BYTES = 1 << 26  # of pixels that are looked at together, besides the masks themselves


class DeviceMasks(NamedTuple):
    """The concept masks of ``N`` images in canonical form, see :class:`pydissect.packing.ImageMasks`."""

    images: Tensor  # [B] int64, of each bitmap
    concepts: Tensor  # [B] int32
    pixels: Tensor  # [B] int32
    bitmaps: Tensor  # [B, H, row_bytes] uint8
    whole_images: Tensor  # [V] int64
    whole: Tensor  # [V] int32


def pack_bool_on_device(masks: Tensor) -> DeviceMasks:
    """Packs bool masks ``[N, C, H, W]``. Waits for the device, for what comes out depends on how many are empty."""
    images, concepts = masks.flatten(2).any(2).nonzero(as_tuple=True)
    return _packed(images, concepts, masks.shape[2:], lambda part: masks[images[part], concepts[part]])


def pack_labels_on_device(maps: Tensor, vocabulary: Vocabulary) -> tuple[DeviceMasks, tuple[int, int] | None]:
    """Packs label maps. A pixel carries a concept if any layer says so.

    Args:
        maps: integers ``[N, layers, H, W]``.
        vocabulary: what the labels mean; without a lookup.

    Returns:
        The masks; and the smallest and the largest unknown label, which the masks leave out, or None if all are known.
    """
    packed, strays = [], []
    # A few images at a time, for their labels are looked at in 64 bits. Of no image, too, there is one part.
    for images in _parts(max(len(maps), 1), max(maps.shape[1:].numel(), 1)):
        masks, stray = _pack_labels(maps[images].to(torch.int64), vocabulary)
        packed.append(
            masks._replace(images=masks.images + images.start, whole_images=masks.whole_images + images.start)
        )
        strays += [] if stray is None else [*stray]
    unknown = (min(strays), max(strays)) if strays else None
    return DeviceMasks(*(torch.cat(parts) for parts in zip(*packed, strict=True))), unknown


def _pack_labels(maps: Tensor, vocabulary: Vocabulary) -> tuple[DeviceMasks, tuple[int, int] | None]:
    first, size, ignored, _ = vocabulary
    numbers = torch.arange(len(maps), device=maps.device)[:, None, None, None]
    labelled = torch.ones_like(maps, dtype=torch.bool) if ignored is None else maps != ignored
    known = labelled & (maps >= first) & (maps < first + size)
    stray = maps[labelled & ~known]
    unknown = (int(stray.min()), int(stray.max())) if stray.numel() else None
    found = torch.unique_consecutive((numbers * size + (maps - first))[known].sort().values)
    images, concepts = found // max(size, 1), found % max(size, 1)

    def planes(part: slice) -> Tensor:
        labels = concepts[part] + first
        mask: Tensor = (maps[images[part]] == labels[:, None, None, None]).any(1)
        return mask

    return _packed(images, concepts, maps.shape[2:], planes), unknown


def _packed(images: Tensor, concepts: Tensor, size: torch.Size, planes: Callable[[slice], Tensor]) -> DeviceMasks:
    """From the masks that are not empty, of which ``planes`` gives ``[part, H, W]`` bool."""
    height, width = size
    pixels = torch.empty(len(images), dtype=torch.int32, device=images.device)
    bitmaps = torch.empty((len(images), height, row_bytes(width)), dtype=torch.uint8, device=images.device)
    for part in _parts(len(images), height * width):
        mask = planes(part)
        pixels[part] = mask.flatten(1).sum(1, dtype=torch.int32)
        bitmaps[part] = _bits(mask)
    covering = pixels == height * width
    partial = ~covering
    concepts = concepts.to(torch.int32)
    return DeviceMasks(
        images=images[partial],
        concepts=concepts[partial],
        pixels=pixels[partial],
        bitmaps=bitmaps[partial],
        whole_images=images[covering],
        whole=concepts[covering],
    )


def _parts(total: int, pixels: int) -> Iterator[slice]:
    step = max(_CHUNK_BYTES // (8 * pixels), 1)
    for begin in range(0, total, step):
        yield slice(begin, begin + step)


def _bits(masks: Tensor) -> Tensor:
    """``[m, H, W]`` bool to ``[m, H, row_bytes]`` uint8."""
    width = row_bytes(masks.shape[2])
    pixels = torch.zeros((*masks.shape[:2], 8 * width), dtype=torch.uint8, device=masks.device)
    pixels[:, :, : masks.shape[2]] = masks
    weights = 2 ** torch.arange(8, dtype=torch.uint8, device=masks.device)
    return (pixels.view(*masks.shape[:2], width, 8) * weights).sum(3, dtype=torch.uint8)
