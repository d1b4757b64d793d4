"""The first stage: reads every activation once and lists the words that may have a pixel above a threshold.

A word is 32 pixels of a row. An item of the list is a word between a source row and the next, of one map: the word's
pixels in all pixel rows that lie there. It is listed if it reads a value above the unit's lowest threshold: no other
can have a pixel.
"""

import triton
import triton.language as tl

from .bits import popcount
from .floats import NONFINITE, decode, magnitude_bits

NO_IMAGE = tl.constexpr(2**63 - 1)


@triton.jit(
    do_not_specialize=[
        *("stride_n", "stride_y", "units", "first_image", "first_unit", "part_units", "h", "w", "words"),
        *("chunks", "row_step", "row_blocks", "unit_blocks"),
    ]
)
def scan(
    acts,  # [N, U, h, w]
    stride_n,
    stride_u,
    stride_y,
    stride_x,
    units,  # U
    lowest,  # [U] fp32, the lowest threshold of each unit
    first_image,  # of the part that this launch scans
    first_unit,
    part_units,
    h,
    w,
    words,  # of a pixel row
    readers,  # [w, chunks] int32: bit i of chunk c: word 32 c + i reads the source column
    chunks,
    pixel_rows,  # [h] int32, between a source row and the next
    row_step,  # source rows a program
    row_blocks,
    unit_blocks,
    items,  # int32: ((image * part_units + unit) * h + row) * words + word, counted within the part
    length,  # [] int32, of the list so far
    first_nonfinite,  # [] int64, the smallest n * U + u so far
    MAPS: tl.constexpr,
    ROWS: tl.constexpr,  # row_step, or one more to look at the next program's first
    COLUMNS: tl.constexpr,
):
    """One program: ``MAPS`` units of an image, ``row_step`` source rows, 32 words (those of ``program_id(1)``)."""
    program, chunk = tl.program_id(0), tl.program_id(1)
    image = program // row_blocks // unit_blocks
    unit = program // row_blocks % unit_blocks * MAPS + tl.arange(0, MAPS)
    local_row = tl.arange(0, ROWS)
    row = program % row_blocks * row_step + local_row
    has_unit, has_row = unit < part_units, row < h
    n, u = (first_image + image).to(tl.int64), (first_unit + unit).to(tl.int64)
    threshold = tl.load(lowest + u, mask=has_unit, other=0)
    rows = acts + n * stride_n + (u * stride_u)[:, None] + (row.to(tl.int64) * stride_y)[None, :]

    live = tl.zeros((MAPS, ROWS), tl.int32)  # a bit for each word
    for first in range(0, w, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        has_column = column < w
        inside = has_unit[:, None, None] & has_row[None, :, None] & has_column[None, None, :]
        places = rows[:, :, None] + (column.to(tl.int64) * stride_x)[None, None, :]
        value = decode(tl.load(places, mask=inside, other=0))
        reader = tl.load(readers + column * chunks + chunk, mask=has_column, other=0)
        hot = inside & (value > threshold[:, None, None])
        live |= tl.reduce_or(tl.where(hot, reader[None, None, :], 0), 2)
        magnitude = magnitude_bits(value)
        if tl.max(magnitude) >= NONFINITE:
            largest = tl.max(tl.max(magnitude, 2), 1)
            place = tl.min(tl.where(largest >= NONFINITE, n * units + u, NO_IMAGE), 0)
            tl.atomic_min(first_nonfinite, place, sem="relaxed")

    below = tl.broadcast_to(tl.minimum(local_row + 1, ROWS - 1)[None, :], (MAPS, ROWS))
    live |= tl.gather(live, below, 1)
    has_pixels = tl.load(pixel_rows + row, mask=has_row & (local_row < row_step), other=0) > 0
    live = tl.reshape(tl.where(has_pixels[None, :], live, 0), (MAPS * ROWS,))

    counts = popcount(live)
    total = tl.sum(counts, 0)
    if total > 0:
        place = tl.atomic_add(length, total, sem="relaxed") + tl.cumsum(counts, 0) - counts
        item = tl.reshape(((image * part_units + unit)[:, None] * h + row[None, :]) * words, (MAPS * ROWS,))
        for i in range(tl.minimum(words - chunk * 32, 32)):
            bit = (live >> i) & 1
            tl.store(items + place, item + chunk * 32 + i, mask=bit != 0)
            place += bit
