"""The CPU backend: C++ kernels (``csrc/``), the instruction set picked at run time.

The environment variable ``PYDISSECT_CPU_LEVEL`` caps the instruction set.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .. import _cpu
from ..candidates import Candidates, Peaks
from ..cpu_level import level_cap
from ..grids import Grid, axis_table
from . import DTYPE_NUMBERS, CountArguments, Selection, Sums


@lru_cache(maxsize=256)
def _geometry(grid: Grid, source: tuple[int, int], output: tuple[int, int]) -> _cpu.Geometry:
    rows, columns = (axis_table(grid, source[axis], output[axis], axis) for axis in (0, 1))
    return _cpu.Geometry(rows.indices, rows.fractions, columns.indices, columns.fractions, *source)


def _acts(acts: Tensor) -> "_cpu.Acts":
    return acts.data_ptr(), DTYPE_NUMBERS[acts.dtype], acts.shape, acts.stride()


class CpuBackend:
    """See :class:`pydissect.backends.Backend`."""

    name = "cpu"

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""
        return None if device.type == "cpu" else "it computes on the CPU; move the activations there with .cpu()"

    def details(self) -> str:
        """The instruction sets that the processor runs, best first, and the threads."""
        threads = torch.get_num_threads()
        return f"{', '.join(_cpu.levels())}; {threads} thread{'s' if threads > 1 else ''}"

    def count(self, arguments: CountArguments, sums: Sums) -> int:
        """Adds the counts of a batch to the sums."""
        acts, masks, threshold, grid, nonfinite_off = arguments
        shape = acts.shape
        # By position: names would take as long as all the rest that Python does for a batch.
        return _cpu.count(
            _acts(acts),
            (
                masks.bitmap_ranges.data_ptr(),
                masks.bitmap_concepts.data_ptr(),
                masks.bitmap_pixels.data_ptr(),
                masks.bitmaps.data_ptr(),
                masks.whole_ranges.data_ptr(),
                masks.whole_concepts.data_ptr(),
                masks.annotated.data_ptr(),
                masks.num_concepts,
                len(masks.categories),
            ),
            _geometry(grid, (shape[2], shape[3]), masks.size),
            threshold.data_ptr(),
            threshold.shape[0],
            nonfinite_off,
            torch.get_num_threads(),
            level_cap(),
            sums.intersection.data_ptr(),
            sums.unit_area.data_ptr(),
            sums.unit_area_all.data_ptr(),
            sums.concept_area.data_ptr(),
        )

    def select(self, acts: Tensor, selection: Selection) -> int:
        """Adds to the selection what a batch holds of it."""
        return _cpu.select(
            acts=_acts(acts),
            values=selection.values.data_ptr(),
            fill=selection.fill.data_ptr(),
            bound=selection.bound.data_ptr(),
            capacity=selection.values.shape[1],
            keep=selection.keep,
            threads=torch.get_num_threads(),
            level_cap=level_cap(),
        )

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
            level_cap=level_cap(),
            result=result.data_ptr(),
        )
        return result

    def sift(self, acts: Tensor, bound: Tensor, peak_bound: Tensor) -> tuple[Candidates, Peaks]:
        """The candidates of a batch, and its maps' peaks."""
        shape = (acts.shape[0], acts.shape[1], acts.shape[2], acts.shape[3])
        _bits, wanted = _wanted(shape)
        counts = torch.empty(shape[0], dtype=torch.int64)
        peaks = Peaks(torch.empty(shape[:2]), torch.empty(shape[:2], dtype=torch.int32))
        threads, source = torch.get_num_threads(), _acts(acts)
        _cpu.sift(
            acts=source,
            bound=bound.data_ptr(),
            peak_bound=peak_bound.data_ptr(),
            threads=threads,
            level_cap=level_cap(),
            wanted=wanted,
            counts=counts.data_ptr(),
            peaks=peaks.values.data_ptr(),
            peak_places=peaks.places.data_ptr(),
        )
        candidates = _empty_candidates(shape, counts, acts.dtype)
        offsets, places, values = (tensor.data_ptr() for tensor in candidates.tensors())
        _cpu.gather(acts=source, wanted=wanted, offsets=offsets, threads=threads, places=places, values=values)
        return candidates, peaks

    def prune(self, candidates: Candidates, bound: Tensor) -> Candidates:
        """Those candidates that are some under a higher bound too."""
        _bits, wanted = _wanted(candidates.shape)
        counts = torch.empty(candidates.shape[0], dtype=torch.int64)
        threads, source = torch.get_num_threads(), _candidates(candidates)
        _cpu.mark(candidates=source, bound=bound.data_ptr(), threads=threads, wanted=wanted, counts=counts.data_ptr())
        kept = _empty_candidates(candidates.shape, counts, candidates.values.dtype)
        offsets, places, values = (tensor.data_ptr() for tensor in kept.tensors())
        _cpu.keep(candidates=source, wanted=wanted, offsets=offsets, threads=threads, places=places, values=values)
        return kept

    def spread(self, candidates: Candidates) -> Tensor:
        """``[N, U, h, w]``, contiguous: the candidates' values, and the lowest finite value everywhere else."""
        images, units, h, w = candidates.shape
        acts = torch.empty(candidates.shape, dtype=candidates.values.dtype)
        _cpu.spread(
            candidates=_candidates(candidates),
            images=images,
            image_values=units * h * w,
            threads=torch.get_num_threads(),
            acts=acts.data_ptr(),
        )
        return acts


def _wanted(shape: tuple[int, int, int, int]) -> tuple[Tensor, _cpu.Wanted]:
    """Memory for the bits of what is wanted, to be kept, and the kernels' view of it."""
    images, units, h, w = shape
    bits = torch.empty((images, _cpu.Wanted.words(units, h, w)), dtype=torch.int64)
    return bits, _cpu.Wanted(bits.data_ptr(), shape)


def _empty_candidates(shape: tuple[int, int, int, int], counts: Tensor, dtype: torch.dtype) -> Candidates:
    """Room for so many candidates an image."""
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=offsets[1:])
    total = int(offsets[-1])
    return Candidates(shape, offsets, torch.empty(total, dtype=torch.int32), torch.empty(total, dtype=dtype))


def _candidates(candidates: Candidates) -> _cpu.Candidates:
    offsets, places, values = (tensor.data_ptr() for tensor in candidates.tensors())
    return _cpu.Candidates(offsets, places, values, DTYPE_NUMBERS[candidates.values.dtype])


BACKEND = CpuBackend()
