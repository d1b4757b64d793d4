"""The counts of each image by itself, sparse: the raw material of bootstraps and significance tests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .backends import CountArguments, Sums, choose_backend
from .extras import needs
from .files import atomic_write
from .grids import Grid
from .masks import PackedMasks

FORMAT = "pydissect.per_image"
VERSION = 1


@dataclass(frozen=True)
class ImageCounts:
    """Of a layer, the areas and intersections of each image that are not 0.

    Attributes:
        areas: int64 ``[M, 3]``: image, unit, pixels of the unit mask.
        intersections: int64 ``[P, 4]``: image, unit, concept's index, pixels in both masks.
    """

    areas: Tensor
    intersections: Tensor

    def save(self, folder: Path, concepts: list[int]) -> None:
        """Writes ``image_areas.parquet`` and ``image_intersections.parquet`` into a folder.

        Args:
            folder: an existing one.
            concepts: each concept's number in the dataset, which the file has rather than the index.
        """
        numbers = torch.tensor(concepts, dtype=torch.int64)
        image, unit, pixels = self.areas.T
        _write(folder / "image_areas.parquet", {"image": image, "unit": unit, "unit_area": pixels})
        image, unit, concept, pixels = self.intersections.T
        columns = {"image": image, "unit": unit, "concept": numbers[concept], "intersection": pixels}
        _write(folder / "image_intersections.parquet", columns)


@dataclass
class PerImageCounts:
    """Counts image by image.

    Args:
        thresholds: ``[U]`` or ``[L, U]`` fp32.
        grid: of the upsampling.
        backend: see :func:`pydissect.fast_iou`.
    """

    thresholds: Tensor
    grid: Grid
    backend: str
    _areas: list[Tensor] = field(default_factory=list)
    _intersections: list[Tensor] = field(default_factory=list)

    def update(self, acts: Tensor, masks: PackedMasks, first_image: int) -> None:
        """Counts a batch whose images start at number ``first_image``; non-finite values count as off."""
        levels = (self.thresholds if self.thresholds.ndim == 2 else self.thresholds[None]).to(acts.device)
        backend = choose_backend(self.backend, acts.device)
        for i in range(len(acts)):
            image = masks[i : i + 1]
            sums = Sums.zeros(len(levels), acts.shape[1], image.num_concepts, len(image.categories), acts.device)
            backend.count(CountArguments(acts[i : i + 1], image, levels, self.grid, True), sums)
            self._areas.append(_sparse(sums.unit_area_all, first_image + i))
            self._intersections.append(_sparse(sums.intersection, first_image + i))

    def level(self, level: int) -> ImageCounts:
        """The counts above the thresholds of a level; of a single one, it is number 0."""
        areas, intersections = (
            torch.cat([rows[rows[:, 1] == level][:, [0, *range(2, rows.shape[1])]] for rows in lists])
            for lists in (self._areas, self._intersections)
        )
        return ImageCounts(areas, intersections)


def _sparse(counts: Tensor, image: int) -> Tensor:
    """Rows of the image's number, the indices into ``counts`` and the count, where that is not 0."""
    places = counts.nonzero()
    return torch.cat([torch.full_like(places[:, :1], image), places, counts[counts != 0][:, None]], dim=1).cpu()


def _write(path: Path, columns: dict[str, Tensor]) -> None:
    pyarrow, parquet = needs("pyarrow", "parquet"), needs("pyarrow.parquet", "parquet")
    # Numbers of images, units and concepts fit into 32 bits.
    types: dict[str, Any] = {name: pyarrow.int32() for name in ("image", "unit", "concept")}
    arrays = {
        name: pyarrow.array(column.numpy()).cast(types.get(name, pyarrow.int64())) for name, column in columns.items()
    }
    table = pyarrow.table(arrays).replace_schema_metadata({"format": FORMAT, "version": str(VERSION)})
    with atomic_write(path) as file:
        parquet.write_table(table, file)
