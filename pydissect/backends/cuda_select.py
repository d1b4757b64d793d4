"""What the CUDA selecting kernel is started with. As for counting, nothing here needs a GPU."""

from torch import Tensor

from ..errors import InputError
from . import Selection
from .cuda_launch import UNITS, VALUES, Launch, acts_fields, up
from .gpu import check_capacity, map_axes

_PIECE_BYTES = 16  # of a wide load
_SECTOR_BYTES = 32  # that a GPU reads from its memory at least; `kMostGroup` halves in csrc/cuda/arguments.hpp
_MOST = 2**30  # of what a block numbers in 32 bits: images, pieces of an image


def _runs(acts: Tensor, side_by_side: int) -> dict[str, int]:
    """The values of an image that lie side by side: how many runs of them there are, and where.

    Args:
        acts: the batch.
        side_by_side: neighbouring units whose values lie side by side; 1 if they do not.
    """
    (rows, stride_row), (columns, stride_column) = map_axes(acts)
    order, run = (UNITS, side_by_side) if side_by_side > 1 else (VALUES, 1)
    if order == VALUES and (columns == 1 or stride_column == 1):
        run, columns, stride_column = columns, 1, 0
    return {
        "order": order,
        "rows": rows,
        "columns": columns,
        "stride_row": stride_row,
        "stride_column": stride_column,
        "run": run,
    }


def _run_pieces(acts: Tensor, runs: dict[str, int]) -> int:
    """Pieces at aligned addresses that a run may touch."""
    size = acts.element_size()
    strides = [runs["stride_row"], runs["stride_column"], *acts.stride()[: 1 if runs["order"] == UNITS else 2]]
    aligned = acts.data_ptr() % _PIECE_BYTES == 0 and all(stride * size % _PIECE_BYTES == 0 for stride in strides)
    before = 0 if aligned else _PIECE_BYTES // size - 1
    return up(runs["run"] + before, _PIECE_BYTES // size)


def select_launch(acts: Tensor, selection: Selection, first_nonfinite: Tensor) -> Launch:
    """The launch that adds to a selection what a batch holds of it.

    A block has a unit of its own, or the neighbouring ones of a sector of memory, so a GPU is full only if there are
    several times as many units as multiprocessors.

    Args:
        acts: ``[N, U, h, w]`` with at least one value, any strides.
        selection: of ``U`` units, on the same device.
        first_nonfinite: int64 scalar there, lowered to the smallest ``n * U + u`` of a map with a non-finite value.

    Raises:
        InputError: maps or buffers are too large.
    """
    images, units, h, w = acts.shape
    group = min(_SECTOR_BYTES // acts.element_size(), units) if acts.stride(1) == 1 else 1
    runs = _runs(acts, group)
    run_pieces = _run_pieces(acts, runs)
    image_pieces = runs["rows"] * runs["columns"] * run_pieces
    capacity = check_capacity(selection)
    if image_pieces > _MOST or images > _MOST:
        raise InputError(f"acts: {images} images with maps of {h} x {w} are too large for this backend")
    tensors = {
        "values": selection.values,
        "fill": selection.fill,
        "bound": selection.bound,
        "first_nonfinite": first_nonfinite,
    }
    fields = {
        **acts_fields(acts),
        **runs,
        "run_pieces": run_pieces,
        "image_pieces": image_pieces,
        "group": group,
        "blocks": up(units, group),
        "capacity": capacity,
        "keep": selection.keep,
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    }
    return Launch(fields, (acts, *tensors.values()))
