"""The decoded pictures of a dataset, kept in a file that notices when the dataset changed.

The file is safetensors: ``images [N, H, W, 3]`` uint8 RGB, memory-mapped when it is read;
its metadata holds the format's version and the dataset's fingerprint.
"""

import json
import shutil
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .broden import Broden
from .cache import cache_path, writable
from .errors import InputError
from .files import atomic_write
from .mapped_tensor import MappedTensor
from .mask_file import check_format

FORMAT = "pydissect.images"
VERSION = 1
_ROOM = 1.05  # of the disk's free space, times what the file takes


class CachedImages:
    """Pictures in the cache.

    Args:
        mapped: ``[N, H, W, 3]``.
        first: number of the first of them in the dataset.
    """

    def __init__(self, mapped: MappedTensor, first: int) -> None:
        self._mapped = mapped
        self._first = first

    def __getitem__(self, rows: range) -> Tensor:
        """``[len(rows), H, W, 3]`` uint8, not to be written to."""
        return self._mapped.tensor[rows.start - self._first : rows.stop - self._first]

    def release(self, rows: range) -> None:
        """Gives back their memory; used again, they are read again."""
        self._mapped.release(rows.start - self._first, rows.stop - self._first)


def cached_images(data: Broden, size: tuple[int, int], rows: range, fingerprint: str) -> CachedImages | None:
    """Those pictures or more, if they are in the cache and the dataset is unchanged.

    Args:
        data: the dataset.
        size: ``(H, W)`` in pixels.
        rows: numbers of the pictures.
        fingerprint: of the dataset.
    """
    for kept in dict.fromkeys((range(len(data)), rows)):
        path = _path(data, size, kept)
        try:
            if not path.exists():
                continue
            with safe_open(path, framework="np") as file:
                metadata = dict(file.metadata() or {})
                check_format(path, metadata, FORMAT, VERSION)
                shape = file.get_slice("images").get_shape()
            if metadata.get("dataset") == fingerprint and shape == [len(kept), *size, 3]:
                return CachedImages(MappedTensor(path, "images"), kept.start)
        except (InputError, SafetensorError, OSError):
            # Damaged, or of another version: decoded anew, which replaces it.
            continue
    return None


class ImageWriter:
    """Writes the file, batch by batch.

    Args:
        file: an empty binary file.
        shape: ``[N, H, W, 3]`` of all that will be written.
        fingerprint: of the dataset.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, int, int, int], fingerprint: str) -> None:
        header = {
            "__metadata__": {"format": FORMAT, "version": str(VERSION), "dataset": fingerprint},
            "images": {"dtype": "U8", "shape": list(shape), "data_offsets": [0, int(np.prod(shape, dtype=np.int64))]},
        }
        text = json.dumps(header).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        file.write(struct.pack("<Q", len(text)) + text)
        self._file = file

    def append(self, images: npt.NDArray[np.uint8]) -> None:
        """Adds pictures ``[B, H, W, 3]``."""
        self._file.write(np.ascontiguousarray(images).data)


@contextmanager
def image_writer(data: Broden, size: tuple[int, int], rows: range, fingerprint: str) -> Iterator[ImageWriter | None]:
    """A writer of consecutive pictures, whose file appears when the block ends well.

    None, with a warning, where the cache cannot hold them.
    """
    path = _path(data, size, rows)
    shape = (len(rows), *size, 3)
    needed = int(np.prod(shape, dtype=np.int64))
    if not writable(path.parent):
        _warn(f"{path.parent} cannot be written")
        yield None
    elif (free := shutil.disk_usage(path.parent).free) < needed * _ROOM:
        _warn(f"{path.parent} has {free:,} bytes left, less than the {needed:,} needed")
        yield None
    else:
        with atomic_write(path) as file:
            yield ImageWriter(file, shape, fingerprint)


def _path(data: Broden, size: tuple[int, int], rows: range) -> Path:
    which = (rows.stop,) if rows.start == 0 else (rows.start, rows.stop)
    return cache_path("images", data, *which, *size)


def _warn(why: str) -> None:
    warnings.warn(
        f"{why}, so the decoded pictures are not kept; set PYDISSECT_CACHE to another folder, or turn the image "
        "cache off",
        stacklevel=4,
    )
