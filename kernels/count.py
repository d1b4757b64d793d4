"""The second stage: interpolates the words listed by the first, and counts their pixels against the image's masks.

Most pixel rows of an item have no pixel, and fetching the masks' words is what costs. So the words that have some go
to a short list, one a program, and are counted when it is full.
"""

import triton
import triton.language as tl

from .bits import popcount
from .floats import decode, finite_or_nan
from .interpolate import lerp

WORD = tl.constexpr(32)


@triton.jit
def count_words(
    found,
    held,
    bitmap_ranges,
    bitmap_concepts,
    bitmaps,
    bitmap_halves,
    intersection,
    concepts,
    CAPACITY: tl.constexpr,
    WORDS: tl.constexpr,
    MASKS: tl.constexpr,
):
    """ANDs and popcounts the words held against all masks of their images, and adds up."""
    for first in range(0, held, WORDS):
        number = first + tl.arange(0, WORDS)
        has_word = number < held
        bits = tl.load(found + number, mask=has_word, other=0)
        image = tl.load(found + CAPACITY + number, mask=has_word, other=0).to(tl.int64)
        half = tl.load(found + 2 * CAPACITY + number, mask=has_word, other=0)
        target = tl.load(found + 3 * CAPACITY + number, mask=has_word, other=0).to(tl.int64)
        begin = tl.load(bitmap_ranges + 2 * image, mask=has_word, other=0)
        end = tl.load(bitmap_ranges + 2 * image + 1, mask=has_word, other=0)
        # A row of a bitmap may end in the middle of a word, but where a word has pixels it has not ended.
        has_low, has_high = (bits & 0xFFFF) != 0, (bits & -65536) != 0
        for block in range(0, tl.max(end - begin, 0).to(tl.int32), MASKS):
            mask = begin[:, None] + block + tl.arange(0, MASKS)[None, :]
            has_mask = mask < end[:, None]
            place = bitmaps + mask * bitmap_halves + half[:, None]
            low = tl.load(place, mask=has_mask & has_low[:, None], other=0).to(tl.int32) & 0xFFFF
            high = tl.load(place + 1, mask=has_mask & has_high[:, None], other=0).to(tl.int32)
            both = popcount(bits[:, None] & (low | (high << 16)))
            concept = tl.load(bitmap_concepts + mask, mask=both > 0, other=0)
            counter = intersection + target[:, None] * concepts + concept
            tl.atomic_add(counter, both.to(tl.int64), mask=both > 0, sem="relaxed")


@triton.jit(
    do_not_specialize=[
        *("stride_n", "stride_u", "stride_y", "units", "levels", "first_image", "first_unit", "part_images"),
        *("part_units", "h", "words", "bitmap_halves", "row_halves", "concepts"),
    ]
)
def count(
    items,  # int32, see scan.py
    length,  # [] int32
    acts,  # [N, U, h, w]
    stride_n,
    stride_u,
    stride_y,
    stride_x,
    threshold,  # [L, U] fp32
    units,  # U
    levels,  # L
    first_image,  # of the part that the items are counted within
    first_unit,
    part_images,
    part_units,
    h,
    words,  # of a pixel row
    first_pixel_row,  # [h] int32, of those between a source row and the next
    pixel_rows,  # [h] int32
    row_fraction,  # [H] fp32
    left,  # [32 * words] int32, source column
    right,  # [32 * words] int32
    column_fraction,  # [32 * words] fp32, NaN beyond the last pixel
    bitmap_ranges,  # [N, 2] int64
    bitmap_concepts,  # [B] int32
    bitmaps,  # [B, H, row_halves] int16
    bitmap_halves,  # H * row_halves
    row_halves,
    areas,  # [L, part_images, part_units] int32, of each unit mask
    intersection,  # [L, U, C] int64
    concepts,  # C
    found,  # [programs, 4, CAPACITY] int32: pixels, image, place in a bitmap, counter
    ITEMS: tl.constexpr,
    ROWS: tl.constexpr,
    CAPACITY: tl.constexpr,
    WORDS: tl.constexpr,
    MASKS: tl.constexpr,
):
    """As many programs as run at once share the list; one takes ``ITEMS`` of it, ``ROWS`` pixel rows at a time."""
    total = tl.load(length)
    program = tl.program_id(0)
    found += program.to(tl.int64) * (4 * CAPACITY)
    held = tl.full((), 0, tl.int32)
    pixel = tl.arange(0, WORD)
    for first in range(program * ITEMS, total, tl.num_programs(0) * ITEMS):
        number = first + tl.arange(0, ITEMS)
        has_item = number < total
        item = tl.load(items + number, mask=has_item, other=0)
        word, y, map = item % words, item // words % h, item // words // h
        n, u = first_image + map // part_units, first_unit + map % part_units

        column = word[:, None] * WORD + pixel[None, :]
        tx = tl.load(column_fraction + column)
        x0 = tl.load(left + column).to(tl.int64) * stride_x
        x1 = tl.load(right + column).to(tl.int64) * stride_x
        values = acts + n.to(tl.int64) * stride_n + u.to(tl.int64) * stride_u
        top = (values + y.to(tl.int64) * stride_y)[:, None]
        bottom = (values + tl.minimum(y + 1, h - 1).to(tl.int64) * stride_y)[:, None]
        top_left = finite_or_nan(decode(tl.load(top + x0)))
        top_right = finite_or_nan(decode(tl.load(top + x1)))
        bottom_left = finite_or_nan(decode(tl.load(bottom + x0)))
        bottom_right = finite_or_nan(decode(tl.load(bottom + x1)))

        first_row = tl.load(first_pixel_row + y)
        rows = tl.where(has_item, tl.load(pixel_rows + y), 0)
        for done in range(0, tl.max(rows, 0), ROWS):
            row = done + tl.arange(0, ROWS)
            has_row = row[None, :] < rows[:, None]
            row = first_row[:, None] + row[None, :]  # [ITEMS, ROWS]
            ty = tl.load(row_fraction + row, mask=has_row, other=float("nan"))[:, :, None]
            at_left = lerp(top_left[:, None, :], bottom_left[:, None, :], ty)
            at_right = lerp(top_right[:, None, :], bottom_right[:, None, :], ty)
            value = lerp(at_left, at_right, tx[:, None, :])  # [ITEMS, ROWS, 32]
            half = row * row_halves + 2 * word[:, None]
            for level in range(levels):
                on = value > tl.load(threshold + level * units + u)[:, None, None]
                bits = tl.sum(on.to(tl.int32) << pixel[None, None, :], 2)
                area = tl.sum(popcount(bits), 1)
                place = (level * part_images).to(tl.int64) * part_units + map
                tl.atomic_add(areas + place, area, mask=area > 0, sem="relaxed")

                bits = tl.reshape(bits, (ITEMS * ROWS,))
                has_pixels = (bits != 0).to(tl.int32)
                place = found + held + tl.cumsum(has_pixels, 0) - 1
                image = tl.broadcast_to(n[:, None], (ITEMS, ROWS))
                target = tl.broadcast_to((level * units + u)[:, None], (ITEMS, ROWS))
                tl.store(place, bits, mask=has_pixels != 0)
                tl.store(place + CAPACITY, tl.reshape(image, (ITEMS * ROWS,)), mask=has_pixels != 0)
                tl.store(place + 2 * CAPACITY, tl.reshape(half, (ITEMS * ROWS,)), mask=has_pixels != 0)
                tl.store(place + 3 * CAPACITY, tl.reshape(target, (ITEMS * ROWS,)), mask=has_pixels != 0)
                held += tl.sum(has_pixels, 0)
                if held > CAPACITY - ITEMS * ROWS:
                    tl.debug_barrier()
                    # fmt: off
                    count_words(found, held, bitmap_ranges, bitmap_concepts, bitmaps, bitmap_halves, intersection,
                                concepts, CAPACITY, WORDS, MASKS)
                    # fmt: on
                    tl.debug_barrier()
                    held = tl.full((), 0, tl.int32)
    tl.debug_barrier()
    # fmt: off
    count_words(found, held, bitmap_ranges, bitmap_concepts, bitmaps, bitmap_halves, intersection,
                concepts, CAPACITY, WORDS, MASKS)
    # fmt: on
