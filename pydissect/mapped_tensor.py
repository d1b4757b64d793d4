"""A tensor of a safetensors file, read through a memory map whose pages can be given back."""

import json
import mmap
import os
from pathlib import Path

import numpy as np

from .arrays import as_tensor


class MappedTensor:
    """A uint8 tensor of a safetensors file, memory-mapped.

    Args:
        path: of a file whose header is known to be sound.
        name: of the tensor.

    Attributes:
        tensor: ``[M, ...]`` uint8, not to be written to.
        inode: of the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.inode = os.fstat(file.fileno()).st_ino
        header_size = int.from_bytes(self._map[:8], "little")
        entry = json.loads(self._map[8 : 8 + header_size])[name]
        begin, end = entry["data_offsets"]
        self._begin = 8 + header_size + begin
        array = np.frombuffer(self._map, np.uint8, end - begin, self._begin)
        self.tensor = as_tensor(array.reshape(entry["shape"]), name)

    def release(self, first: int, last: int) -> None:
        """Gives back the memory of the rows ``first`` to ``last``; used again, they are read again."""
        row_bytes = self.tensor[0].numel() if len(self.tensor) else 0
        begin = (self._begin + first * row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        end = self._begin + last * row_bytes
        if end > begin:
            self._map.madvise(mmap.MADV_DONTNEED, begin, end - begin)
