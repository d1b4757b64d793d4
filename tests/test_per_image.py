"""The counts of each image: their sums, their files, and the reference's on one image at a time."""

from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from strategies import NONFINITE, make_acts, make_masks

from pydissect import PackedMasks, reference
from pydissect.per_image import PerImageCounts

IMAGES, UNITS, CONCEPTS, SIZE = 7, 5, 4, (15, 17)


def counted(levels: bool) -> tuple[PerImageCounts, torch.Tensor, torch.Tensor, torch.Tensor]:
    acts = make_acts((IMAGES, UNITS, 6, 7), special=NONFINITE)
    bits = make_masks(IMAGES, CONCEPTS, SIZE, present=[0, 1, 2, 3, 4, 4, 4])
    thresholds = torch.stack([reference.thresholds(acts, q) for q in (0.05, 0.4)])
    thresholds[:, 2] = 100  # a unit without a pixel
    counts = PerImageCounts(thresholds if levels else thresholds[0], "half_pixel", "auto")
    masks = PackedMasks.from_bool(bits)
    for begin, end in ((0, 3), (3, 3), (3, 7)):
        counts.update(acts[begin:end], masks[begin:end], begin)
    return counts, acts, bits, thresholds


@pytest.mark.parametrize(("levels", "level"), [(False, 0), (True, 0), (True, 1)])
def test_each_image_by_the_reference(levels: bool, level: int):
    counts, acts, bits, thresholds = counted(levels)
    found = counts.level(level)
    areas = torch.zeros(IMAGES, UNITS, dtype=torch.int64)
    areas[found.areas[:, 0], found.areas[:, 1]] = found.areas[:, 2]
    both = torch.zeros(IMAGES, UNITS, CONCEPTS, dtype=torch.int64)
    both[found.intersections[:, 0], found.intersections[:, 1], found.intersections[:, 2]] = found.intersections[:, 3]
    for n in range(IMAGES):
        one = slice(n, n + 1)
        annotated = torch.ones(1, 1, dtype=torch.bool)
        wanted = reference.counts(acts[one], bits[one], thresholds[level][None], annotated)
        assert torch.equal(both[n], wanted[0][0])
        assert torch.equal(areas[n], wanted[2][0])
    # Sparse: no zeros, and nothing twice.
    assert len(found.areas) == int((areas > 0).sum())
    assert len(found.intersections) == int((both > 0).sum())
    assert (areas[:, 2] == 0).all()


def test_files(tmp_path: Path):
    found = counted(levels=False)[0].level(0)
    found.save(tmp_path, [3, 1, 40, 7])
    areas = pyarrow.parquet.read_table(tmp_path / "image_areas.parquet")
    assert areas.column_names == ["image", "unit", "unit_area"]
    assert [list(row.values()) for row in areas.to_pylist()] == found.areas.tolist()
    both = pyarrow.parquet.read_table(tmp_path / "image_intersections.parquet")
    assert both.column_names == ["image", "unit", "concept", "intersection"]
    numbers = [3, 1, 40, 7]
    assert [list(row.values()) for row in both.to_pylist()] == [
        [image, unit, numbers[concept], pixels] for image, unit, concept, pixels in found.intersections.tolist()
    ]
    for table in (areas, both):
        assert [str(table.schema.field(name).type) for name in table.column_names][-1] == "int64"
        assert table.schema.metadata == {b"format": b"pydissect.per_image", b"version": b"1"}
