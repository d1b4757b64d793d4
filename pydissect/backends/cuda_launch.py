"""What the CUDA counting kernel is started with: tables, the split of the work, and addresses by name.

The names are those of ``csrc/cuda/arguments.hpp``. Nothing here needs a GPU, so
that tests run the same launches on the host.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..grids import Grid, axis_table
from . import DTYPE_NUMBERS, CountArguments, Sums

THREADS = 512
"""Threads of a block, ``kThreads`` in ``csrc/cuda/team.cuh``."""

OTHER_DEVICE = "it computes on CUDA devices; move the activations there with .cuda()"
"""Why the kernels cannot work on activations that lie elsewhere."""

_LANES = 32  # of a warp; also the pixels of a word
_FOUND_WORDS = 3 * _LANES  # of 32 bits, of ``Found`` in ``csrc/cuda/count.cuh``
VALUES, UNITS, STRIDED = range(3)
"""How values lie in memory, ``Order`` in ``csrc/cuda/arguments.hpp``."""

# A block brings the image's masks into shared memory, so it should read several times as much of the activations.
_BLOCK_BYTES = 2**17
_MARK_WORDS = 2**12
_MOST_VALUES = 2**30  # of a block, which numbers them in 32 bits
_BLOCKS_A_MULTIPROCESSOR = 2  # as many as their registers allow


class Tables(NamedTuple):
    """The sampling tables, regrouped by source row and by word of 32 pixels; on the device.

    Attributes:
        first_rows: ``[h + 1]`` int32, the first pixel row at or below each source row.
        row_fractions: ``[H]`` fp32.
        columns: ``[W]`` int32, the source column of each pixel.
        column_fractions: ``[W]`` fp32.
        readers: ``[w, 2]`` int32, the first and the last word that reads a source column; none if first > last.
    """

    first_rows: Tensor
    row_fractions: Tensor
    columns: Tensor
    column_fractions: Tensor
    readers: Tensor


@cache  # for good: a captured CUDA graph goes on reading them
def sampling_tables(grid: Grid, source: tuple[int, int], output: tuple[int, int], device: torch.device) -> Tables:
    """The tables of a grid, from maps ``source = (h, w)`` to pixels ``output = (H, W)``."""
    rows, columns = (axis_table(grid, source[axis], output[axis], axis) for axis in (0, 1))
    x = np.arange(source[1])
    begin = np.searchsorted(columns.indices, x - 1, side="left")  # the first pixel whose right neighbour it is
    end = np.searchsorted(columns.indices, x, side="right")
    readers = np.stack([begin // _LANES, (end - 1) // _LANES], axis=1)
    readers[begin == end] = (1, 0)
    arrays = (
        np.searchsorted(rows.indices, np.arange(source[0] + 1)).astype(np.int32),
        rows.fractions,
        columns.indices,
        columns.fractions,
        readers.astype(np.int32),
    )
    return Tables(*(torch.from_numpy(array).to(device) for array in arrays))


@dataclass(frozen=True)
class Limits:
    """Of a device.

    Attributes:
        shared_bytes_a_block: shared memory that a block may have.
        shared_bytes: shared memory of a multiprocessor.
        multiprocessors: how many there are.
    """

    shared_bytes_a_block: int
    shared_bytes: int
    multiprocessors: int


@dataclass(frozen=True)
class Launch:
    """A launch of a kernel.

    Attributes:
        fields: numbers and addresses by name; among them ``blocks``.
        tensors: that the addresses are of, to be kept until the kernel is started.
    """

    fields: dict[str, int]
    tensors: tuple[Tensor, ...]


def up(numerator: int, denominator: int) -> int:
    """A quotient, rounded up."""
    return -(-numerator // denominator)


def acts_fields(acts: Tensor) -> dict[str, int]:
    """What the kernels are told of activations ``[N, U, h, w]``."""
    names = ("stride_n", "stride_u", "stride_y", "stride_x")
    extent = 1 + sum((size - 1) * stride for size, stride in zip(acts.shape, acts.stride(), strict=True))
    return {
        "acts": acts.data_ptr(),
        "acts_end": acts.data_ptr() + (extent * acts.element_size() if acts.numel() else 0),
        "dtype": DTYPE_NUMBERS[acts.dtype],
        **dict(zip(("images", "units", "h", "w"), acts.shape, strict=True)),
        **dict(zip(names, acts.stride(), strict=True)),
    }


def _order(acts: Tensor) -> int:
    _, units, h, w = acts.shape
    _, stride_u, stride_y, stride_x = acts.stride()
    rows_join = (w == 1 or stride_x == 1) and (h == 1 or stride_y == w)
    if rows_join and (units == 1 or stride_u == h * w):
        return VALUES
    return UNITS if units > 1 and stride_u == 1 else STRIDED


def _split(acts: Tensor, size: tuple[int, int], bitmaps: int, limits: Limits, threads: int) -> dict[str, int]:
    """How the work is split, given how many bitmaps an image can have at most."""
    images, units, h, w = acts.shape
    words, warps = up(size[1], _LANES), threads // _LANES
    band = min(h, max(_MARK_WORDS * 32 // words, 1))
    mark_words = up(band * words, 32)
    group = 1
    if band == h:
        wanted = max(_BLOCK_BYTES // (h * w * acts.element_size()), warps)
        enough_blocks = images * units // (4 * _BLOCKS_A_MULTIPROCESSOR * limits.multiprocessors)
        group = max(min(wanted, enough_blocks, _MARK_WORDS // mark_words, _MOST_VALUES // (h * w), units), 1)
    groups = max(up(units, group), 1)
    group = max(up(units, groups), 1)
    found_offset = group * (1 + mark_words)
    masks_offset = found_offset + _FOUND_WORDS * warps
    mask_stride = size[0] * words | 1
    # A block keeps a kilobyte for itself.
    budget = min(limits.shared_bytes_a_block, limits.shared_bytes // _BLOCKS_A_MULTIPROCESSOR - 1024) // 4
    staged = min(max((budget - masks_offset) // mask_stride, 0), bitmaps)
    shared_bytes = 4 * (masks_offset + staged * mask_stride)
    if shared_bytes > limits.shared_bytes_a_block or h * w > _MOST_VALUES:
        raise InputError(f"acts: maps of {h} x {w} with masks of {size[0]} x {size[1]} are too large for this backend")
    return {
        "group": group,
        "groups": groups,
        "band": band,
        "bands": up(h, band),
        "slices": max(min(warps // group, mark_words), 1),
        "mark_words": mark_words,
        "staged": staged,
        "mask_stride": mask_stride,
        "found_offset": found_offset,
        "masks_offset": masks_offset,
        "map_values": h * w,
        "words": words,
        "blocks": images * groups * up(h, band),
        "shared_bytes": shared_bytes,
    }


def count_launch(
    arguments: CountArguments, sums: Sums, first_nonfinite: Tensor, limits: Limits, threads: int = THREADS
) -> Launch:
    """The launch that adds the counts of a batch to the sums.

    Args:
        arguments: of the count.
        sums: on the same device.
        first_nonfinite: int64 scalar there, lowered to the smallest ``n * U + u`` of a map with a non-finite value.
        limits: of the device.
        threads: of a block; the kernel is compiled for the default.

    Raises:
        InputError: a block's share of a map does not fit into shared memory.
    """
    acts, masks = arguments.acts, arguments.masks
    h, w = acts.shape[2:]
    tensors = {
        "thresholds": arguments.threshold,
        "bitmap_ranges": masks.bitmap_ranges.contiguous(),
        "bitmap_concepts": masks.bitmap_concepts,
        "bitmap_pixels": masks.bitmap_pixels,
        "bitmaps": masks.bitmaps,
        "whole_ranges": masks.whole_ranges.contiguous(),
        "whole_concepts": masks.whole_concepts,
        "annotated": masks.annotated.contiguous(),
        **sampling_tables(arguments.grid, (h, w), masks.size, acts.device)._asdict(),
        **vars(sums),
        "first_nonfinite": first_nonfinite,
    }
    fields = {
        **acts_fields(acts),
        "order": _order(acts),
        "H": masks.size[0],
        "W": masks.size[1],
        "row_bytes": masks.bitmaps.shape[2],
        "levels": len(arguments.threshold),
        "concepts": masks.num_concepts,
        "categories": len(masks.categories),
        **_split(acts, masks.size, min(masks.num_concepts, len(masks.bitmaps)), limits, threads),
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    }
    return Launch(fields, (acts, *tensors.values()))
