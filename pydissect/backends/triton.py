"""The Triton backend: kernels (``kernels/``) compiled for the GPU when they are first used.

With ``TRITON_INTERPRET=1`` set before Triton is imported they run in its interpreter, on CPU tensors as well.
"""

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..grids import AxisTable, Grid, axis_table
from . import CountArguments, Selection, Sums
from .gpu import TorchRanks, check_capacity, map_axes, no_image
from .torch_sift import TorchSifting

_WORD = 32  # pixels a word, see kernels/count.py
_LEAST_CAPABILITY = (8, 0)

WORKSPACE_BYTES = 2**26
"""Of the list of words that may have pixels, and of the maps' areas; more only if a single map needs more."""

# Shapes of the kernels' tiles. No others are compiled, but one scan for each map size's powers of two.
SCAN_VALUES = 1024
SCAN_COLUMNS = 64
SCAN_WARPS = 8
COUNT_TILE = {"ITEMS": 8, "ROWS": 4, "CAPACITY": 512, "WORDS": 4, "MASKS": 32}
COUNT_WARPS = 4
COUNT_PROGRAMS = 4  # a multiprocessor: as many as its registers hold
AREA_TILE = {"UNITS": 32, "IMAGES": 16, "CATEGORIES": 8}
CONCEPT_BLOCK = 128
SELECT_VALUES = 1024
SELECT_UNITS = 16  # if their values lie side by side
SELECT_BLOCK = 1024
# Left to itself, the assembler takes fewer registers and spills.
SELECT_OPTIONS = {"num_warps": 8, "maxnreg": 128}

# Nothing may be fused, in any kernel: see kernels/interpolate.py.
_EXACT = {"enable_fp_fusion": False}


@dataclass(frozen=True)
class _Geometry:
    """The sampling tables on a device, regrouped for the kernels, which name and describe them."""

    words: int
    chunks: int
    readers: Tensor
    first_pixel_row: Tensor
    pixel_rows: Tensor
    row_fraction: Tensor
    left: Tensor
    right: Tensor
    column_fraction: Tensor


@cache  # for good: a captured CUDA graph goes on reading them
def _geometry(grid: Grid, source: tuple[int, int], output: tuple[int, int], device: torch.device) -> _Geometry:
    rows, columns = (axis_table(grid, source[axis], output[axis], axis) for axis in (0, 1))
    words = -(-output[1] // _WORD)
    beyond = words * _WORD - output[1]
    columns = AxisTable(np.pad(columns.indices, (0, beyond)), np.pad(columns.fractions, (0, beyond)))
    columns.fractions[output[1] :] = np.nan  # no pixel, at any threshold
    right = np.minimum(columns.indices + 1, source[1] - 1)
    chunks = -(-words // _WORD)
    reads = np.zeros((source[1], chunks * _WORD), dtype=bool)  # [column, word]
    pixels = np.arange(output[1])
    for side in (columns.indices, right):
        reads[side[pixels], pixels // _WORD] = True
    readers = np.packbits(reads, axis=1, bitorder="little").view("<i4")
    y = np.arange(source[0])
    first = np.searchsorted(rows.indices, y)

    def on_device(array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return _Geometry(
        words=words,
        chunks=chunks,
        readers=on_device(readers),
        first_pixel_row=on_device(first.astype(np.int32)),
        pixel_rows=on_device((np.searchsorted(rows.indices, y, side="right") - first).astype(np.int32)),
        row_fraction=on_device(rows.fractions),
        left=on_device(columns.indices),
        right=on_device(right.astype(np.int32)),
        column_fraction=on_device(columns.fractions),
    )


def _power(size: int) -> int:
    """The smallest power of two that is no smaller."""
    return 1 << (size - 1).bit_length()


@dataclass(frozen=True)
class ScanTile:
    """What a program of the scan looks at: so many maps, rows and columns, powers of two."""

    maps: int
    rows: int
    columns: int

    @classmethod
    def of_maps(cls, units: int, h: int, w: int) -> "ScanTile":
        """The tile for so many maps an image, of a size."""
        columns = min(_power(w), SCAN_COLUMNS)
        rows = min(_power(h), SCAN_VALUES // columns)
        return cls(min(_power(units), SCAN_VALUES // (rows * columns)), rows, columns)


@dataclass(frozen=True)
class SelectTile:
    """What a program of the selection reads at once: so many images, columns and units, powers of two."""

    images: int
    columns: int
    units: int

    @classmethod
    def of_rows(cls, columns: int, units_side_by_side: bool) -> "SelectTile":
        """The tile for rows of so many values."""
        units = SELECT_UNITS if units_side_by_side else 1
        columns = min(_power(columns), SELECT_VALUES // units)
        return cls(SELECT_VALUES // (columns * units), columns, units)


_MOST_IMAGES = 65535 * AREA_TILE["IMAGES"]  # of a launch, whose grid may have so many rows


@dataclass(frozen=True)
class _Part:
    """A rectangle of the batch that is counted by one launch of each kernel."""

    first_image: int
    images: int
    first_unit: int
    units: int


def _parts(images: int, units: int, map_bytes: int, limit: int) -> Iterator[_Part]:
    """The largest part comes first."""
    maps = max(limit // map_bytes, 1)
    unit_step = min(units, maps)
    image_step = min(images, maps // unit_step, _MOST_IMAGES)
    for image in range(0, images, image_step):
        for unit in range(0, units, unit_step):
            yield _Part(image, min(image_step, images - image), unit, min(unit_step, units - unit))


def _kernels(name: str) -> Any:
    return importlib.import_module(f"pydissect.kernels.{name}")


def _interpreted() -> bool:
    return not isinstance(_kernels("count").count, importlib.import_module("triton").JITFunction)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _programs(device: torch.device) -> int:
    """How many programs share the list."""
    if device.type != "cuda":
        return 2
    return COUNT_PROGRAMS * torch.cuda.get_device_properties(device).multi_processor_count


class TritonBackend(TorchRanks, TorchSifting):
    """See :class:`pydissect.backends.Backend`."""

    name = "triton"

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed; it comes with PyTorch's CUDA builds, or pip install triton"
        if device.type not in ("cpu", "cuda"):
            return "it computes on NVIDIA GPUs; move the activations there with .cuda()"
        if _interpreted():
            return None
        if device.type == "cpu":
            return (
                "it computes on NVIDIA GPUs; move the activations there with .cuda(), or set TRITON_INTERPRET=1 "
                "for Triton's slow interpreter on the CPU"
            )
        if torch.version.hip is not None or not torch.cuda.is_available():
            return "torch finds no NVIDIA GPU here"
        capability = torch.cuda.get_device_capability(device)
        if capability < _LEAST_CAPABILITY:
            needed, found = (".".join(map(str, pair)) for pair in (_LEAST_CAPABILITY, capability))
            return f"it needs compute capability {needed}, found {found}"
        return None

    def details(self) -> str:
        """Triton's version."""
        import triton

        interpreted = ", interpreted" if _interpreted() else ""
        return f"Triton {triton.__version__}{interpreted}"

    def count(self, arguments: CountArguments, sums: Sums) -> Tensor:
        """Adds the counts of a batch to the sums.

        Workspace: ``WORKSPACE_BYTES``, and 8 KB a program.
        """
        device = arguments.acts.device
        first_nonfinite = no_image(device)
        with _on(device):
            self._sum_concept_areas(arguments, sums)
            self._count(arguments, sums, first_nonfinite)
        return first_nonfinite

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        """Adds to the selection what a batch holds of it.

        A program has a unit of its own, or ``SELECT_UNITS`` neighbouring ones, so a GPU is full only if there are
        several times as many units as multiprocessors.
        """
        first_nonfinite = no_image(acts.device)
        if not acts.numel():
            return first_nonfinite
        images, units = acts.shape[:2]
        stride_n, stride_u = acts.stride()[:2]
        (rows, stride_row), (columns, stride_column) = map_axes(acts)
        capacity = check_capacity(selection)
        tile = SelectTile.of_rows(columns, units > 1 and stride_u == 1)
        with _on(acts.device):
            _kernels("select").select[(-(-units // tile.units),)](
                acts,
                stride_n,
                stride_u,
                stride_row,
                stride_column,
                images,
                units,
                rows,
                columns,
                selection.values,
                selection.fill,
                selection.bound,
                capacity,
                selection.keep,
                first_nonfinite,
                IMAGES=tile.images,
                COLUMNS=tile.columns,
                UNITS=tile.units,
                BLOCK=SELECT_BLOCK,
                **SELECT_OPTIONS,
                **_EXACT,
            )
        return first_nonfinite

    def _sum_concept_areas(self, arguments: CountArguments, sums: Sums) -> None:
        masks = arguments.masks
        if not len(masks):
            return
        _kernels("areas").sum_concept_areas[(len(masks),)](
            masks.bitmap_ranges,
            masks.bitmap_concepts,
            masks.bitmap_pixels,
            masks.whole_ranges,
            masks.whole_concepts,
            masks.size[0] * masks.size[1],
            sums.concept_area,
            BLOCK=CONCEPT_BLOCK,
            **_EXACT,
        )

    def _count(self, arguments: CountArguments, sums: Sums, first_nonfinite: Tensor) -> None:
        acts, masks, threshold = arguments.acts, arguments.masks, arguments.threshold
        images, units, h, w = acts.shape
        if images == 0 or units == 0:
            return
        levels, device = len(threshold), acts.device
        geometry = _geometry(arguments.grid, (h, w), masks.size, device)
        tile = ScanTile.of_maps(units, h, w)
        row_step = h if h <= tile.rows else tile.rows - 1
        row_blocks = -(-h // row_step)
        lowest = threshold.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf).amin(0)
        bitmaps = masks.bitmaps.view(torch.int16)
        row_halves = bitmaps.shape[2]

        parts = list(_parts(images, units, 4 * (h * geometry.words + levels), WORKSPACE_BYTES))
        maps = parts[0].images * parts[0].units  # of the largest
        programs = _programs(device)
        items = torch.empty(maps * h * geometry.words, dtype=torch.int32, device=device)
        areas = torch.empty(levels * maps, dtype=torch.int32, device=device)
        found = torch.empty((programs, 4, COUNT_TILE["CAPACITY"]), dtype=torch.int32, device=device)
        lengths = torch.zeros(len(parts), dtype=torch.int32, device=device)
        for number, part in enumerate(parts):
            length = lengths[number]
            unit_blocks = -(-part.units // tile.maps)
            _kernels("scan").scan[(part.images * unit_blocks * row_blocks, geometry.chunks)](
                acts,
                *acts.stride(),
                units,
                lowest,
                part.first_image,
                part.first_unit,
                part.units,
                h,
                w,
                geometry.words,
                geometry.readers,
                geometry.chunks,
                geometry.pixel_rows,
                row_step,
                row_blocks,
                unit_blocks,
                items,
                length,
                first_nonfinite,
                MAPS=tile.maps,
                ROWS=tile.rows,
                COLUMNS=tile.columns,
                num_warps=SCAN_WARPS,
                **_EXACT,
            )
            areas.zero_()
            _kernels("count").count[(programs,)](
                items,
                length,
                acts,
                *acts.stride(),
                threshold,
                units,
                levels,
                part.first_image,
                part.first_unit,
                part.images,
                part.units,
                h,
                geometry.words,
                geometry.first_pixel_row,
                geometry.pixel_rows,
                geometry.row_fraction,
                geometry.left,
                geometry.right,
                geometry.column_fraction,
                masks.bitmap_ranges,
                masks.bitmap_concepts,
                bitmaps,
                masks.size[0] * row_halves,
                row_halves,
                areas,
                sums.intersection,
                masks.num_concepts,
                found,
                **COUNT_TILE,
                num_warps=COUNT_WARPS,
                **_EXACT,
            )
            unit_groups, image_groups = -(-part.units // AREA_TILE["UNITS"]), -(-part.images // AREA_TILE["IMAGES"])
            _kernels("areas").sum_unit_areas[(unit_groups, image_groups, levels)](
                areas,
                units,
                part.first_image,
                part.first_unit,
                part.images,
                part.units,
                masks.annotated,
                masks.whole_ranges,
                masks.whole_concepts,
                sums.unit_area,
                sums.unit_area_all,
                sums.intersection,
                len(masks.categories),
                masks.num_concepts,
                **AREA_TILE,
                **_EXACT,
            )


BACKEND = TritonBackend()
