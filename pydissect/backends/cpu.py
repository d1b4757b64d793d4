"""The CPU backend: C++ kernels (``csrc/``), the instruction set picked at run time.

The environment variable ``PYDISSECT_CPU_LEVEL`` (``avx512``, ``avx2``, ``portable``)
caps the instruction set; it is there for tests and for comparing machines.
"""

import os
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .. import _cpu
from ..errors import InputError
from ..grids import AxisTable, Grid, axis_table
from . import CountArguments, Selection, Sums

_DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
_LEVELS = ("avx512", "avx2", "portable")


def _level_cap() -> str:
    cap = os.environ.get("PYDISSECT_CPU_LEVEL", "")
    if cap and cap not in _LEVELS:
        raise InputError(f"PYDISSECT_CPU_LEVEL: expected {', '.join(_LEVELS)}, found {cap!r}")
    return cap


@lru_cache(maxsize=256)
def _axis_table(grid: Grid, source: int, output: int, axis: int) -> AxisTable:
    return axis_table(grid, source, output, axis)


def _acts(acts: Tensor) -> _cpu.Acts:
    return _cpu.Acts(acts.data_ptr(), _DTYPES[acts.dtype], tuple(acts.shape), tuple(acts.stride()))


class CpuBackend:
    """See :class:`pydissect.backends.Backend`."""

    name = "cpu"

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""
        return None if device.type == "cpu" else "it computes on the CPU; move the activations there with .cpu()"

    def count(self, arguments: CountArguments, sums: Sums) -> Tensor:
        """Adds the counts of a batch to the sums."""
        acts, masks, grid = arguments.acts, arguments.masks, arguments.grid
        ranges = masks.bitmap_ranges.contiguous()
        whole_ranges = masks.whole_ranges.contiguous()
        annotated = masks.annotated.contiguous()
        rows = _axis_table(grid, acts.shape[2], masks.size[0], 0)
        columns = _axis_table(grid, acts.shape[3], masks.size[1], 1)
        first = _cpu.count(
            acts=_acts(acts),
            masks=_cpu.Masks(
                bitmap_ranges=ranges.data_ptr(),
                bitmap_concepts=masks.bitmap_concepts.data_ptr(),
                bitmaps=masks.bitmaps.data_ptr(),
                whole_ranges=whole_ranges.data_ptr(),
                whole_concepts=masks.whole_concepts.data_ptr(),
                annotated=annotated.data_ptr(),
                concepts=masks.num_concepts,
                categories=len(masks.categories),
                max_bitmaps=int((ranges[:, 1] - ranges[:, 0]).max()) if len(ranges) else 0,
            ),
            row_index=rows.indices,
            row_fraction=rows.fractions,
            column_index=columns.indices,
            column_fraction=columns.fractions,
            thresholds=arguments.threshold.data_ptr(),
            levels=len(arguments.threshold),
            nonfinite_off=arguments.nonfinite_off,
            threads=torch.get_num_threads(),
            level_cap=_level_cap(),
            intersection=sums.intersection.data_ptr(),
            unit_area=sums.unit_area.data_ptr(),
            unit_area_all=sums.unit_area_all.data_ptr(),
        )
        return torch.tensor(first)

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        """Adds to the selection what a batch holds of it."""
        first = _cpu.select(
            acts=_acts(acts),
            values=selection.values.data_ptr(),
            fill=selection.fill.data_ptr(),
            bound=selection.bound.data_ptr(),
            capacity=selection.values.shape[1],
            keep=selection.keep,
            threads=torch.get_num_threads(),
            level_cap=_level_cap(),
        )
        return torch.tensor(first)

    def values_of_ranks(self, selection: Selection, ranks: Sequence[int]) -> Tensor:
        """The values of those ranks among the values held."""
        units, capacity = selection.values.shape
        result = torch.empty((len(ranks), units))
        _cpu.values_of_ranks(
            values=selection.values.data_ptr(),
            fill=selection.fill.data_ptr(),
            bound=selection.bound.data_ptr(),
            units=units,
            capacity=capacity,
            keep=selection.keep,
            ranks=list(ranks),
            threads=torch.get_num_threads(),
            level_cap=_level_cap(),
            result=result.data_ptr(),
        )
        return result


BACKEND = CpuBackend()
