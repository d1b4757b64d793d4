"""Exact streaming selection: per unit, the values that can still be among the ``keep`` largest of a stream.

``csrc/core/select.hpp`` says what a buffer holds. A program has units of its own and goes through the whole batch for
them: it appends the values above their unit's bound, and prunes a buffer that is full before it goes on with those
that did not fit.
"""

import triton
import triton.language as tl

from .floats import NONFINITE, decode, key_of, magnitude_bits, value_of
from .scan import NO_IMAGE

DIGIT_BITS = tl.constexpr(8)
DIGITS = tl.constexpr(256)


@triton.jit
def find_level(values, count, keep, BLOCK: tl.constexpr):
    """The key of the ``keep``-th largest of ``count`` values, digit by digit from the highest."""
    level = tl.full((), 0, tl.uint32)  # the digits found so far
    wanted = keep  # it is the so many-th largest of the values that begin with these
    for step in tl.static_range(32 // DIGIT_BITS):
        shift = 32 - DIGIT_BITS * (step + 1)
        counts = tl.zeros((DIGITS,), tl.int32)
        for first in range(0, count, BLOCK):
            place = first + tl.arange(0, BLOCK)
            has_value = place < count
            key = key_of(tl.load(values + place, mask=has_value, other=0))
            begins = ((key ^ level) >> shift) >> DIGIT_BITS == 0
            digit = ((key >> shift) & (DIGITS - 1)).to(tl.int32)
            counts += tl.histogram(digit, DIGITS, mask=has_value & begins)
        at_least = tl.cumsum(counts, 0, reverse=True)
        found = tl.sum((at_least >= wanted).to(tl.int32), 0) - 1
        wanted -= tl.sum(tl.where(tl.arange(0, DIGITS) > found, counts, 0), 0)
        level |= found.to(tl.uint32) << shift
    return level


@triton.jit
def prune(values, count, keep, BLOCK: tl.constexpr):
    """Leaves the ``keep`` largest of ``count`` values; returns the smallest of them, the new bound."""
    tl.debug_barrier()
    level = find_level(values, count, keep, BLOCK)
    bound = value_of(level)
    kept = tl.full((), 0, tl.int32)
    for first in range(0, count, BLOCK):
        place = first + tl.arange(0, BLOCK)
        value = tl.load(values + place, mask=place < count, other=0)
        above = ((place < count) & (key_of(value) > level)).to(tl.int32)
        # They move no further than what has been read.
        tl.debug_barrier()
        tl.store(values + kept + tl.cumsum(above, 0) - 1, value, mask=above != 0)
        kept += tl.sum(above, 0)
    # Of ties at the level, no more than are wanted.
    for first in range(kept, keep, BLOCK):
        place = first + tl.arange(0, BLOCK)
        tl.store(values + place, bound, mask=place < keep)
    tl.debug_barrier()
    return bound


@triton.jit(do_not_specialize=["stride_y", "images", "units", "h", "w", "capacity", "keep"])
def select(
    acts,  # [N, U, h, w]
    stride_n,
    stride_u,
    stride_y,
    stride_x,
    images,  # N
    units,  # U
    h,
    w,
    values,  # [U, capacity] fp32
    fill,  # [U] int64
    bound,  # [U] fp32
    capacity,
    keep,
    first_nonfinite,  # [] int64, the smallest n * U + u so far
    IMAGES: tl.constexpr,
    COLUMNS: tl.constexpr,
    UNITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: ``UNITS`` units; of them ``IMAGES`` images and ``COLUMNS`` values of a row are read at once."""
    first_unit = tl.program_id(0) * UNITS
    local = tl.arange(0, UNITS)
    unit = first_unit + local
    has_unit = unit < units
    u = unit.to(tl.int64)
    held = tl.load(fill + unit, mask=has_unit, other=0).to(tl.int32)
    level = tl.load(bound + unit, mask=has_unit, other=0)
    for first_image in range(0, images, IMAGES):
        image = first_image + tl.arange(0, IMAGES)
        n = image.to(tl.int64)
        rows = acts + (n * stride_n)[:, None] + (u * stride_u)[None, :]
        has_map = (image < images)[:, None] & has_unit[None, :]
        for _ in range(h):
            for first_column in range(0, w, COLUMNS):
                column = first_column + tl.arange(0, COLUMNS)
                inside = has_map[:, None, :] & (column < w)[None, :, None]
                places = rows[:, None, :] + (column.to(tl.int64) * stride_x)[None, :, None]
                value = decode(tl.load(places, mask=inside, other=0))
                magnitude = magnitude_bits(value)
                if tl.max(magnitude) >= NONFINITE:
                    place = (n * units)[:, None] + u[None, :]
                    place = tl.where(tl.max(magnitude, 1) >= NONFINITE, place, NO_IMAGE)
                    tl.atomic_min(first_nonfinite, tl.min(place), sem="relaxed")
                waiting = inside & (magnitude < NONFINITE) & (value > level[None, None, :])
                value = tl.reshape(value, (IMAGES * COLUMNS, UNITS))
                waiting = tl.reshape(waiting, (IMAGES * COLUMNS, UNITS))
                while tl.max(waiting.to(tl.int32)) > 0:
                    place = held[None, :] + tl.cumsum(waiting.to(tl.int32), 0) - 1
                    fits = waiting & (place < capacity)
                    tl.store(values + (u * capacity)[None, :] + place, value, mask=fits)
                    held += tl.sum(waiting.to(tl.int32), 0)
                    waiting = waiting & (place >= capacity)
                    if tl.max(held) > capacity:
                        for i in range(UNITS):
                            if tl.sum(tl.where(local == i, held, 0)) > capacity:
                                buffer = values + (first_unit + i).to(tl.int64) * capacity
                                raised = prune(buffer, capacity, keep, BLOCK)
                                level = tl.where(local == i, raised, level)
                                held = tl.where(local == i, keep, held)
                        waiting = waiting & (value > level[None, :])
            rows += stride_y
    tl.store(fill + unit, held.to(tl.int64), mask=has_unit)
    tl.store(bound + unit, level, mask=has_unit)
