"""Packing the annotation of one image into bitmaps."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import _cpu
from .categories import Categories
from .errors import InputError

IGNORED = -1
"""In a lookup: a label that means unlabelled."""
UNKNOWN = -2
"""In a lookup: a number that no label has."""

Ints = npt.NDArray[np.int32]


def row_bytes(width: int) -> int:
    """Bytes of a bitmap row: whole 16-bit words; pixel ``x`` is bit ``x % 8`` of byte ``x // 8``."""
    return (width + 15) // 16 * 2


class ImageMasks(NamedTuple):
    """The concept masks of one image, in canonical form.

    A concept without a pixel is not listed, one that covers the image is in
    ``whole`` and has no bitmap, and both lists rise.
    """

    concepts: Ints  # [m]
    pixels: Ints  # [m] set in each bitmap
    bitmaps: npt.NDArray[np.uint8]  # [m, H, row_bytes]
    whole: Ints  # [v]


def canonical(
    concepts: Ints, pixels: Ints, bitmaps: npt.NDArray[np.uint8], whole: Ints, size: tuple[int, int]
) -> ImageMasks:
    """The canonical form: ``concepts`` rising, with bitmaps of ``size = (H, W)`` pixels, ``whole`` in any order."""
    full = concepts[pixels == size[0] * size[1]]
    whole = np.union1d(whole, full).astype(np.int32)
    keep = (pixels > 0) & ~np.isin(concepts, whole)
    bitmaps = bitmaps.reshape(len(concepts), size[0], row_bytes(size[1]))
    return ImageMasks(concepts[keep], pixels[keep], bitmaps[keep], whole)


def annotated(categories: Categories, image: ImageMasks) -> npt.NDArray[np.uint8]:
    """``[K]``: 1 for each category that is annotated in the image.

    That is where it carries at least one concept whose primary category it is
    (Bau et al. 2017, section 2.2, sums a unit's area over such images only).
    """
    result = np.full(len(categories), categories.everywhere, np.uint8)
    of_concept = categories.of_concept.numpy()
    result[of_concept[image.concepts]] = 1
    result[of_concept[image.whole]] = 1
    return result


def pack_labels(maps: npt.NDArray[np.integer], lookup: Ints, whole: Ints | None = None) -> ImageMasks:
    """Packs the label maps of one image. A pixel carries a concept if any layer says so.

    Args:
        maps: ``[layers, H, W]`` labels, at least 0 layers.
        lookup: the concept of each label, or ``IGNORED`` or ``UNKNOWN``.
        whole: concepts that cover the whole image.

    Raises:
        InputError: a label that the lookup lacks.
    """
    size = (maps.shape[1], maps.shape[2])
    concepts, pixels, bitmaps, unknown = _cpu.pack_labels(maps.astype(np.int32, copy=False), lookup)
    if unknown is not None:
        raise InputError(f"unknown label {unknown}")
    return canonical(concepts, pixels, bitmaps.view(np.uint8), np.zeros(0, np.int32) if whole is None else whole, size)
