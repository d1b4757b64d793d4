"""The file of packed masks: safetensors, written image by image, read through a memory map.

The tensors are those of :class:`pydissect.PackedMasks`; the metadata holds the
format's version, the mask size, the categories, and whatever the writer adds.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .categories import Categories
from .errors import InputError
from .mapped_tensor import MappedTensor
from .packing import ImageMasks, annotated, row_bytes

FORMAT = "pydissect.masks"
VERSION = 1
_DTYPES = {"int32": "I32", "int64": "I64", "uint8": "U8"}
# Room in the header for numbers that are known only at the end.
_DIGITS = 20


class MaskWriter:
    """Writes a mask file whose images come one by one, so that memory does not grow with the bitmaps.

    The bitmaps come first in the file and are written as they come; the header,
    whose room is reserved at the start, is filled in by :meth:`finish`.

    Args:
        file: an empty, seekable binary file.
        size: ``(H, W)`` of the masks, in pixels.
        categories: of the concepts, on the CPU.
        metadata: more text to keep in the file.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: tuple[int, int],
        categories: Categories,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._file = file
        self._size = size
        self._categories = categories
        self._metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "height": str(size[0]),
            "width": str(size[1]),
            "categories": json.dumps(categories.names),
            "everywhere": json.dumps(categories.everywhere),
            **(metadata or {}),
        }
        self._bitmap_offsets = [0]
        self._whole_offsets = [0]
        self._lists: dict[str, list[npt.NDArray[np.int32]]] = {
            "bitmap_concepts": [],
            "bitmap_pixels": [],
            "whole_concepts": [],
        }
        empty = self._header({name: np.zeros(0, np.uint8) for name in self._tensors()}, 0)
        self._header_size = (len(empty) + (len(self._tensors()) + 1) * 4 * _DIGITS + 256) // 8 * 8
        file.write(b"\0" * (8 + self._header_size))

    def append(self, images: ImageMasks) -> None:
        """Adds the masks of the next images."""
        self._file.write(np.ascontiguousarray(images.bitmaps).data)
        self._bitmap_offsets += (images.bitmap_offsets[1:] + self._bitmap_offsets[-1]).tolist()
        self._whole_offsets += (images.whole_offsets[1:] + self._whole_offsets[-1]).tolist()
        self._lists["bitmap_concepts"].append(images.concepts)
        self._lists["bitmap_pixels"].append(images.pixels)
        self._lists["whole_concepts"].append(images.whole)

    def finish(self) -> None:
        """Writes what follows the bitmaps, and the header."""
        tensors = self._tensors()
        bitmap_bytes = self._bitmap_offsets[-1] * self._size[0] * row_bytes(self._size[1])
        # int64 first, so that each tensor is aligned to its own size.
        self._file.write(b"\0" * (-bitmap_bytes % 8))
        for tensor in tensors.values():
            self._file.write(np.ascontiguousarray(tensor).data)
        header = self._header(tensors, bitmap_bytes)
        self._file.seek(0)
        self._file.write(struct.pack("<Q", self._header_size) + header.ljust(self._header_size))

    def _tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        bitmap_offsets, whole_offsets = (
            np.array(offsets, np.int64) for offsets in (self._bitmap_offsets, self._whole_offsets)
        )
        lists = {name: np.concatenate([np.zeros(0, np.int32), *arrays]) for name, arrays in self._lists.items()}
        return {
            "bitmap_offsets": bitmap_offsets,
            "whole_offsets": whole_offsets,
            "concept_category": self._categories.of_concept.numpy(),
            **lists,
            "annotated": annotated(
                self._categories, bitmap_offsets, lists["bitmap_concepts"], whole_offsets, lists["whole_concepts"]
            ),
        }

    def _header(self, tensors: Mapping[str, npt.NDArray[np.generic]], bitmap_bytes: int) -> bytes:
        end = bitmap_bytes + -bitmap_bytes % 8
        shape = [self._bitmap_offsets[-1], self._size[0], row_bytes(self._size[1])]
        if bitmap_bytes % 8:
            # The format allows no gaps: the padding counts as a tensor of its own.
            entries = {"padding": {"dtype": "U8", "shape": [end - bitmap_bytes], "data_offsets": [bitmap_bytes, end]}}
        else:
            entries = {}
        entries["bitmaps"] = {"dtype": "U8", "shape": shape, "data_offsets": [0, bitmap_bytes]}
        for name, tensor in tensors.items():
            entries[name] = {
                "dtype": _DTYPES[str(tensor.dtype)],
                "shape": list(tensor.shape),
                "data_offsets": [end, end + tensor.nbytes],
            }
            end += tensor.nbytes
        return json.dumps({"__metadata__": self._metadata, **entries}).encode()


def read_masks(path: Path) -> tuple[dict[str, Tensor], dict[str, str], MappedTensor]:
    """The tensors and the metadata of a mask file, and the memory map that its bitmaps lie in.

    Raises:
        InputError: no such file, another format, a newer version, or damaged contents.
    """
    try:
        inode = path.stat().st_ino
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            check_format(path, metadata, FORMAT, VERSION)
            names = set(file.keys())
            if "bitmaps" not in names:
                raise InputError(f"{path}: damaged packed masks: no tensor 'bitmaps'")
            tensors = {name: file.get_tensor(name) for name in names - {"bitmaps"}}
            # safetensors has checked the header by now.
            mapped = MappedTensor(path, "bitmaps")
        if mapped.inode != inode:
            # Another process has put a new file in its place meanwhile.
            return read_masks(path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as packed masks: {error}") from None
    return {**tensors, "bitmaps": mapped.tensor}, metadata, mapped


def check_format(path: Path, metadata: Mapping[str, str], name: str, version: int) -> None:
    """Checks the ``format`` and ``version`` of a file that pydissect wrote.

    Raises:
        InputError: another format, or a version that this program does not know.
    """
    found = metadata.get("format")
    if found != name:
        raise InputError(f"{path}: expected a file of format {name!r}, found {found!r}")
    number = metadata.get("version", "")
    if not number.isdecimal() or not 1 <= int(number) <= version:
        raise InputError(
            f"{path}: format version {number!r} is not known to this program, which knows up to {version}; "
            "install a newer pydissect to read it"
        )
