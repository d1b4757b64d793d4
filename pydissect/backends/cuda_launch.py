"""What the CUDA counting kernel is started with: tables, the split of the work, and addresses by name.

The names are those of ``csrc/cuda/arguments.hpp``. Nothing here needs a GPU, so
that tests run the same launches on the host.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import InputError
from ..grids import AxisTable, Grid, axis_table
from ..masks import PackedMasks
from . import DTYPE_NUMBERS, CountArguments, Sums

THREADS = 512
"""Threads of a block, ``kThreads`` in ``csrc/cuda/team.cuh``."""

OTHER_DEVICE = "it computes on CUDA devices; move the activations there with .cuda()"
"""Why the kernels cannot work on activations that lie elsewhere."""

_LANES = 32  # of a warp; also the pixels of a word
_AROUND = 16  # ``kAround`` in ``csrc/cuda/count.cuh``
_FEWEST = 4  # ``kFewest`` in ``csrc/cuda/cells.cuh``
_WARP_WORDS = 736  # of 32 bits, of ``WarpMemory`` in ``csrc/cuda/tally.cuh``
VALUES, UNITS, STRIDED = range(3)
"""How values lie in memory, ``Order`` in ``csrc/cuda/arguments.hpp``."""

# A block brings the image's masks into shared memory, so it should read several times as much of the activations.
_BLOCK_BYTES = 2**17
_MOST_BITS = 2**17  # of a block: one for each value that it reads
_BLOCKS_A_MULTIPROCESSOR = 2  # as many as their registers allow


class Tables(NamedTuple):
    """The sampling tables, regrouped by source row and column; on the device.

    Attributes:
        first_rows: ``[h + 1]`` int32, the first pixel row at or below each source row.
        first_columns: ``[w + 1]`` int32, the first pixel column at or right of each source column.
        row_fractions: ``[H]`` fp32, and then as many zeros as a search among them may read beyond.
        column_fractions: ``[W]`` fp32, likewise.
    """

    first_rows: Tensor
    first_columns: Tensor
    row_fractions: Tensor
    column_fractions: Tensor


@dataclass(frozen=True)
class Sampling:
    """Tables, and the first step of a search among the pixels of a source row or column.

    Attributes:
        tables: see there.
        row_step: a power of two, more than half of the most pixel rows of a source row.
        column_step: the same of columns.
    """

    tables: Tables
    row_step: int
    column_step: int


def _first_pixels(table: AxisTable, source: int) -> npt.NDArray[np.int32]:
    """The first pixel of each source row or column, and the number of pixels.

    Raises:
        AssertionError: the fractions of one fall somewhere, so that the kernel's bisection would miss pixels.
    """
    same = table.indices[1:] == table.indices[:-1]
    if (same & (table.fractions[1:] < table.fractions[:-1])).any():
        raise AssertionError("expected fractions that do not fall between two source rows or columns")
    return np.searchsorted(table.indices, np.arange(source + 1)).astype(np.int32)


@cache  # for good: a captured CUDA graph goes on reading them
def sampling(grid: Grid, source: tuple[int, int], output: tuple[int, int], device: torch.device) -> Sampling:
    """The tables of a grid, from maps ``source = (h, w)`` to pixels ``output = (H, W)``."""
    axes = [axis_table(grid, source[axis], output[axis], axis) for axis in (0, 1)]
    firsts = [_first_pixels(table, size) for table, size in zip(axes, source, strict=True)]
    steps = [max(1 << (int(np.diff(first).max()).bit_length() - 1), _FEWEST) for first in firsts]
    fractions = [np.pad(table.fractions, (0, step)) for table, step in zip(axes, steps, strict=True)]
    return Sampling(Tables(*(torch.from_numpy(array).to(device) for array in (*firsts, *fractions))), *steps)


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


def _split(
    acts: Tensor, masks: PackedMasks, levels: int, fractions: int, limits: Limits, threads: int
) -> dict[str, int]:
    """How the work is split; ``fractions`` are kept in shared memory."""
    images, units, h, w = acts.shape
    warps = threads // _LANES
    most = min(_MOST_BITS, 2**30 // levels)  # the kernel numbers the values of all levels in 32 bits
    band = min(h, max(most // w - 1, 1))
    group = 1
    if band == h:
        wanted = max(_BLOCK_BYTES // (h * w * acts.element_size()), warps)
        enough_blocks = images * units // (4 * _BLOCKS_A_MULTIPROCESSOR * limits.multiprocessors)
        group = max(min(wanted, enough_blocks, most // (h * w), units), 1)
    groups = max(up(units, group), 1)
    group = max(up(units, groups), 1)
    values = group * h * w if band == h else (band + 1) * w
    # A thread writes as many bits as 32 bytes have values, at places that these divide.
    pieces = up(values + 32, 32 * _LANES)
    hot_words = 32 * pieces + (w + 1) // 32 + 2
    fractions_offset = 2 * _AROUND + group + hot_words
    warps_offset = up(fractions_offset + fractions, 4) * 4
    masks_offset = warps_offset + _WARP_WORDS * warps
    mask_halves = masks.size[0] * masks.bitmaps.shape[2] // 2
    mask_stride = up(mask_halves, 2) | 1
    # A block keeps a kilobyte for itself.
    budget = min(limits.shared_bytes_a_block, limits.shared_bytes // _BLOCKS_A_MULTIPROCESSOR - 1024) // 4
    staged = min(max((budget - masks_offset) // mask_stride, 0), masks.num_concepts, len(masks.bitmaps))
    shared_bytes = 4 * (masks_offset + staged * mask_stride)
    numbers = (levels * pieces * 32 * _LANES, levels * units, 16 * mask_halves)  # that the kernel has in 32 bits
    if shared_bytes > limits.shared_bytes_a_block or max(numbers) >= 2**31:
        height, width = masks.size
        raise InputError(f"acts: maps of {h} x {w} with masks of {height} x {width} are too large for this backend")
    return {
        "group": group,
        "groups": groups,
        "band": band,
        "bands": up(h, band),
        "hot_words": hot_words,
        "pieces": pieces,
        "staged": staged,
        "mask_halves": mask_halves,
        "mask_stride": mask_stride,
        "fractions_offset": fractions_offset,
        "warps_offset": warps_offset,
        "masks_offset": masks_offset,
        "map_values": h * w,
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
    where = sampling(arguments.grid, (h, w), masks.size, acts.device)
    tensors = {
        "thresholds": arguments.threshold,
        "bitmap_ranges": masks.bitmap_ranges,
        "bitmap_concepts": masks.bitmap_concepts,
        "bitmap_pixels": masks.bitmap_pixels,
        "bitmaps": masks.bitmaps,
        "whole_ranges": masks.whole_ranges,
        "whole_concepts": masks.whole_concepts,
        "annotated": masks.annotated,
        **where.tables._asdict(),
        **vars(sums),
        "first_nonfinite": first_nonfinite,
    }
    fields = {
        **acts_fields(acts),
        "order": _order(acts),
        "H": masks.size[0],
        "W": masks.size[1],
        "row_bits": 8 * masks.bitmaps.shape[2],
        "levels": len(arguments.threshold),
        "concepts": masks.num_concepts,
        "categories": len(masks.categories),
        "row_step": where.row_step,
        "column_step": where.column_step,
        **_split(acts, masks, len(arguments.threshold), len(where.tables.column_fractions), limits, threads),
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    }
    return Launch(fields, (acts, *tensors.values()))
