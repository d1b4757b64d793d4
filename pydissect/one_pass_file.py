"""The file of what one pass has left: safetensors, written batch by batch, its candidates read through a memory map.

=====================  =====================================================================================
``candidates``         ``[bytes]`` uint8: of each batch its places, int32, and its values; from a multiple of 8 on
``batch_images``       ``[B]`` int64: images of each batch
``image_candidates``   ``[N]`` int64: candidates of each image
the others             as who writes them names them
=====================  =====================================================================================

The metadata holds the format's version, the values' dtype, and whatever else the writer adds.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .candidates import Candidates
from .errors import InputError
from .files import atomic_write
from .mapped_tensor import MappedTensor
from .mask_file import check_format

FORMAT = "pydissect.one_pass"
VERSION = 1
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_NAMES = {torch.uint8: "U8", torch.int32: "I32", torch.int64: "I64", torch.float32: "F32"}
_ALIGNMENT = 8
# Room in the header for numbers that are known only at the end.
_ROOM = 1024


class State(NamedTuple):
    """What a file holds.

    Attributes:
        metadata: that the writer added.
        tensors: that the writer added.
        shape: ``(U, h, w)`` of the maps, None if there was no batch.
        batches: candidates, batch by batch; their places and values are maps of the file.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    shape: tuple[int, int, int] | None
    batches: list[Candidates]


def write_state(
    path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], batches: Iterable[Candidates]
) -> None:
    """Writes a file, which appears when it is complete.

    Args:
        path: of the file.
        metadata: to keep.
        tensors: to keep, on any device; int32, int64 or fp32.
        batches: candidates, on the CPU.

    Raises:
        InputError: the batches differ in the shape of the maps or in dtype.
    """
    sizes: list[int] = []
    counts = [torch.zeros(0, dtype=torch.int64)]
    kind: tuple[tuple[int, ...] | None, torch.dtype] = (None, torch.float32)
    with atomic_write(path) as file:
        # Its place comes first in the file; what it says is known last.
        room = _ROOM + len(_header(metadata, tensors, 0)) // _ALIGNMENT * _ALIGNMENT
        file.write(bytes(8 + room))
        for candidates in batches:
            found = candidates.shape[1:], candidates.values.dtype
            if sizes and found != kind:
                maps = "{0} of {1}".format
                raise InputError(f"save: expected all maps [U, h, w] to be {maps(*kind)}, found {maps(*found)}")
            kind = found
            sizes.append(candidates.shape[0])
            counts.append(candidates.offsets.diff())
            _write_aligned(file, candidates.places, candidates.values)
        nbytes = file.tell() - 8 - room
        kept = {
            **{name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            "batch_images": torch.tensor(sizes, dtype=torch.int64),
            "image_candidates": torch.cat(counts),
        }
        # int64 first, so that each tensor is aligned to its own size.
        kept = dict(sorted(kept.items(), key=lambda item: -item[1].itemsize))
        for tensor in kept.values():
            file.write(_bytes_of(tensor))
        name = next(name for name, dtype in _DTYPES.items() if dtype == kind[1])
        header = _header({**metadata, "maps": json.dumps(kind[0]), "dtype": name}, kept, nbytes)
        assert len(header) <= room
        file.seek(0)
        file.write(struct.pack("<Q", room) + header.ljust(room))


def _header(metadata: Mapping[str, str], tensors: Mapping[str, Tensor], candidate_bytes: int) -> bytes:
    entries = {"candidates": {"dtype": "U8", "shape": [candidate_bytes], "data_offsets": [0, candidate_bytes]}}
    end = candidate_bytes
    for name, tensor in tensors.items():
        offsets = [end, end + tensor.nbytes]
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        end = offsets[1]
    return json.dumps({"__metadata__": {**metadata, "format": FORMAT, "version": str(VERSION)}, **entries}).encode()


def _write_aligned(file: BinaryIO, *tensors: Tensor) -> None:
    nbytes = 0
    for tensor in tensors:
        file.write(_bytes_of(tensor))
        nbytes += tensor.nbytes
    file.write(bytes(-nbytes % _ALIGNMENT))


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]


def read_state(path: Path) -> State:
    """Reads a file that :func:`write_state` wrote.

    Raises:
        InputError: no such file, another format, a newer version, or damaged contents.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            check_format(path, metadata, FORMAT, VERSION)
            tensors = {name: file.get_tensor(name).clone() for name in set(file.keys()) - {"candidates"}}
        # safetensors has checked the header by now.
        mapped = MappedTensor(path, "candidates").tensor
        maps, dtype = json.loads(metadata["maps"]), _DTYPES[metadata["dtype"]]
        shape = None if maps is None else tuple(map(int, maps))
        if shape is not None and (len(shape) != 3 or min(shape) < 0):
            raise ValueError(f"expected maps [U, h, w], found {maps}")
        sizes, counts = tensors.pop("batch_images"), tensors.pop("image_candidates")
        return State(metadata, tensors, shape, _batches(mapped, shape or (0, 0, 0), dtype, sizes, counts))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as what a pass has left: {error}") from None


def _batches(
    mapped: Tensor, shape: tuple[int, int, int], dtype: torch.dtype, sizes: Tensor, counts: Tensor
) -> list[Candidates]:
    """The candidates of each batch.

    Raises:
        ValueError: the tensors do not fit together.
    """
    if sizes.dtype != torch.int64 or counts.dtype != torch.int64 or sizes.ndim != 1 or counts.ndim != 1:
        raise ValueError("expected batch_images and image_candidates int64 of one dimension")
    if len(sizes) and (int(sizes.min()) < 0 or (len(counts) and int(counts.min()) < 0)):
        raise ValueError("expected no negative numbers in batch_images and image_candidates")
    if int(sizes.sum()) != len(counts):
        raise ValueError(f"expected image_candidates of {int(sizes.sum())} images, found {len(counts)}")
    batches, begin, image_values = [], 0, shape[0] * shape[1] * shape[2]
    for of_images in torch.split(counts, sizes.tolist()):
        number = int(of_images.sum())
        middle = begin + 4 * number
        end = middle + dtype.itemsize * number
        if end > len(mapped):
            raise ValueError(f"expected {end} bytes of candidates or more, found {len(mapped)}")
        places, values = mapped[begin:middle].view(torch.int32), mapped[middle:end].view(dtype)
        offsets = torch.cat([of_images.new_zeros(1), of_images.cumsum(0)])
        _check_places(places, offsets, image_values)
        batches.append(Candidates((len(of_images), *shape), offsets, places, values))
        begin = end + -end % _ALIGNMENT
    if begin != len(mapped):
        raise ValueError(f"expected {begin} bytes of candidates, found {len(mapped)}")
    return batches


def _check_places(places: Tensor, offsets: Tensor, image_values: int) -> None:
    """Kernels write where the places say."""
    if len(places) == 0:
        return
    if int(places.min()) < 0 or int(places.max()) >= image_values:
        raise ValueError(f"expected places of candidates from 0 to {image_values - 1}")
    rises = places.diff() > 0
    starts = offsets[(offsets > 0) & (offsets < len(places))]
    rises[starts - 1] = True
    if not bool(rises.all()):
        raise ValueError("expected places of candidates that rise within an image")
