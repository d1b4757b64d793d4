"""The last stage: sums the areas of unit masks and of concept masks. None of it looks at a pixel."""

import triton
import triton.language as tl


@triton.jit(
    do_not_specialize=[
        *("units", "first_image", "first_unit", "part_images", "part_units", "concepts", "categories"),
    ]
)
def sum_unit_areas(
    areas,  # [L, part_images, part_units] int32, see count.py
    units,  # U
    first_image,  # of the part
    first_unit,
    part_images,
    part_units,
    annotated,  # [N, K] uint8
    whole_ranges,  # [N, 2] int64
    whole_concepts,  # [V] int32
    unit_area,  # [L, U, K] int64
    unit_area_all,  # [L, U] int64
    intersection,  # [L, U, C] int64
    categories,  # K
    concepts,  # C
    UNITS: tl.constexpr,
    IMAGES: tl.constexpr,
    CATEGORIES: tl.constexpr,
):
    """One program: ``UNITS`` units, ``IMAGES`` images, the level ``program_id(2)``.

    A concept that covers its image meets the unit mask in all of the unit's area.
    """
    unit = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    first, level = tl.program_id(1) * IMAGES, tl.program_id(2)
    has_unit = unit < part_units
    target = level.to(tl.int64) * units + first_unit + unit  # of [L, U]
    places = areas + level.to(tl.int64) * part_images * part_units + unit
    total = tl.zeros((UNITS,), tl.int64)
    for image in range(first, tl.minimum(first + IMAGES, part_images)):
        area = tl.load(places + image * part_units, mask=has_unit, other=0).to(tl.int64)
        total += area
        n = first_image + image
        for i in range(tl.load(whole_ranges + 2 * n), tl.load(whole_ranges + 2 * n + 1)):
            counter = intersection + target * concepts + tl.load(whole_concepts + i)
            tl.atomic_add(counter, area, mask=area > 0, sem="relaxed")
    tl.atomic_add(unit_area_all + target, total, mask=total > 0, sem="relaxed")

    for block in range(0, categories, CATEGORIES):
        category = block + tl.arange(0, CATEGORIES)
        has_category = category < categories
        totals = tl.zeros((UNITS, CATEGORIES), tl.int64)
        for image in range(first, tl.minimum(first + IMAGES, part_images)):
            area = tl.load(places + image * part_units, mask=has_unit, other=0).to(tl.int64)
            carried = tl.load(annotated + (first_image + image) * categories + category, mask=has_category, other=0)
            totals += tl.where(carried[None, :] != 0, area[:, None], 0)
        counter = unit_area + target[:, None] * categories + category[None, :]
        tl.atomic_add(counter, totals, mask=totals > 0, sem="relaxed")


@triton.jit(do_not_specialize=["image_pixels"])
def sum_concept_areas(
    bitmap_ranges,  # [N, 2] int64
    bitmap_concepts,  # [B] int32
    bitmap_pixels,  # [B] int32
    whole_ranges,  # [N, 2] int64
    whole_concepts,  # [V] int32
    image_pixels,  # H * W
    concept_area,  # [C] int64
    BLOCK: tl.constexpr,
):
    """One program: one image."""
    n = tl.program_id(0)
    end = tl.load(bitmap_ranges + 2 * n + 1)
    for first in range(tl.load(bitmap_ranges + 2 * n), end, BLOCK):
        bitmap = first + tl.arange(0, BLOCK)
        concept = tl.load(bitmap_concepts + bitmap, mask=bitmap < end, other=0)
        pixels = tl.load(bitmap_pixels + bitmap, mask=bitmap < end, other=0).to(tl.int64)
        tl.atomic_add(concept_area + concept, pixels, mask=pixels > 0, sem="relaxed")
    end = tl.load(whole_ranges + 2 * n + 1)
    for first in range(tl.load(whole_ranges + 2 * n), end, BLOCK):
        place = first + tl.arange(0, BLOCK)
        concept = tl.load(whole_concepts + place, mask=place < end, other=0)
        pixels = tl.full((BLOCK,), image_pixels, tl.int64)
        tl.atomic_add(concept_area + concept, pixels, mask=place < end, sem="relaxed")
