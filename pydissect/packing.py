"""Packing bool masks and label maps into bitmaps."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import _cpu
from .categories import Categories
from .cpu_level import level_cap

IGNORED = -1
"""In a lookup: a label that means unlabelled."""
UNKNOWN = -2
"""In a lookup: a number that no label has."""

Ints = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]

# The order of csrc/core/pack.hpp.
_LABEL_TYPES = {
    dtype: number
    for number, dtype in enumerate(
        [
            torch.uint8,
            torch.int8,
            torch.uint16,
            torch.int16,
            torch.uint32,
            torch.int32,
            torch.uint64,
            torch.int64,
        ]
    )
}


def row_bytes(width: int) -> int:
    """Bytes of a bitmap row: whole 16-bit words; pixel ``x`` is bit ``x % 8`` of byte ``x // 8``."""
    return (width + 15) // 16 * 2


class ImageMasks(NamedTuple):
    """The concept masks of ``N`` images, in canonical form.

    A concept without a pixel is not listed, one that covers its image is in
    ``whole`` and has no bitmap, and both lists of an image rise.
    """

    bitmap_offsets: Offsets  # [N + 1]: image n has the bitmaps [n] to [n + 1]
    concepts: Ints  # [m] of each bitmap
    pixels: Ints  # [m] set in each bitmap
    bitmaps: npt.NDArray[np.uint8]  # [m, H, row_bytes]
    whole_offsets: Offsets  # [N + 1], likewise
    whole: Ints  # [v]


class Vocabulary(NamedTuple):
    """What the labels of label maps mean.

    Label ``first + i`` is concept ``i``, for ``i`` below ``size``; with a lookup it is
    concept ``lookup[i]``, or ``IGNORED``, or ``UNKNOWN``. Every other label is unknown.
    """

    first: int
    size: int
    ignored: int | None = None  # a label that means unlabelled
    lookup: Ints | None = None  # [size]

    @classmethod
    def of(cls, lookup: Ints) -> "Vocabulary":
        """That of the labels 0, 1, ... with the concepts of a lookup."""
        return cls(0, len(lookup), lookup=lookup)


def annotated(
    categories: Categories, bitmap_offsets: Offsets, concepts: Ints, whole_offsets: Offsets, whole: Ints
) -> npt.NDArray[np.uint8]:
    """``[N, K]``: 1 for each category that is annotated in the image, from the fields of :class:`ImageMasks`.

    That is where it carries at least one concept whose primary category it is
    (Bau et al. 2017, section 2.2, sums a unit's area over such images only).
    """
    images = len(bitmap_offsets) - 1
    result = np.full((images, len(categories)), categories.everywhere, np.uint8)
    of_concept = categories.of_concept.numpy()
    for offsets, carried in ((bitmap_offsets, concepts), (whole_offsets, whole)):
        result[np.repeat(np.arange(images), np.diff(offsets)), of_concept[carried]] = 1
    return result


def pack_bool(masks: Tensor, threads: int) -> ImageMasks:
    """Packs bool masks ``[N, C, H, W]``, on the CPU, of any strides."""
    packed = _cpu.pack_bool(
        masks=masks.data_ptr(),
        shape=tuple(masks.shape),
        strides=tuple(masks.stride()),
        threads=threads,
        level_cap=level_cap(),
    )
    return _images(packed)


def pack_labels(
    maps: Tensor, vocabulary: Vocabulary, threads: int, whole: Iterable[int] = ()
) -> tuple[ImageMasks, tuple[int, int] | None]:
    """Packs label maps. A pixel carries a concept if any layer says so.

    Args:
        maps: integers ``[N, layers, H, W]``, on the CPU, of any strides; at least 0 layers.
        vocabulary: what the labels mean.
        threads: at most so many.
        whole: concepts that cover every image besides.

    Returns:
        The masks; and the smallest and the largest unknown label, which the masks leave
        out, or None if all are known.
    """
    info = torch.iinfo(maps.dtype)
    ignored = vocabulary.ignored
    if ignored is not None and not info.min <= ignored <= info.max:
        ignored = None  # no pixel has it
    packed, low, high = _cpu.pack_labels(
        maps=maps.data_ptr(),
        type=_LABEL_TYPES[maps.dtype],
        shape=tuple(maps.shape),
        strides=tuple(maps.stride()),
        ignored=None if ignored is None else (ignored + 2**63) % 2**64 - 2**63,
        first=vocabulary.first,
        count=vocabulary.size,
        concepts=vocabulary.lookup,
        whole=list(whole),
        threads=threads,
        level_cap=level_cap(),
    )
    bias = 2**63 if info.min < 0 else 0
    return _images(packed), (low - bias, high - bias) if low <= high else None


def _images(packed: _cpu.PackedImages) -> ImageMasks:
    return ImageMasks(
        packed.bitmap_offsets,
        packed.concepts,
        packed.pixels,
        packed.bitmaps.view(np.uint8),
        packed.whole_offsets,
        packed.whole,
    )
