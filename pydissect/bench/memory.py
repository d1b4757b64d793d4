"""Large buffers on pages of a known size, and how many bytes an object holds."""

import contextlib
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PAGES = ("huge", "small")


def make_buffer(size: int, pages: str = "huge") -> Tensor:
    """``size`` bytes, at least 1, of memory of their own, all touched, as uint8.

    Huge pages are advised or forbidden here because torch's own tensors have them or not as the
    machine and ``THP_MEM_ALLOC_ENABLE`` say, and reading them makes a difference.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A kernel without huge pages refuses the advice; `huge_share` tells what came of it.
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE if pages == "huge" else mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8, count=size).fill_(0)


def huge_share(buffer: Tensor) -> float:
    """The share of a buffer's memory that lies on huge pages."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(mapping[1], 16) <= buffer.data_ptr() < int(mapping[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            return min(int(line.split()[1]) * 1024 / buffer.nbytes, 1.0)
    return 0.0


def bytes_held(value: Any) -> int:
    """Bytes of all tensors and arrays that an object's attributes and containers hold, each once."""
    sizes: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Tensor):
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, np.ndarray):
            sizes[value.ctypes.data] = value.nbytes
        elif isinstance(value, dict):
            for entry in value.values():
                visit(entry)
        elif isinstance(value, list | tuple):
            for entry in value:
                visit(entry)
        elif hasattr(value, "__dict__") and type(value).__module__.startswith("pydissect"):
            visit(vars(value))

    visit(value)
    return sum(sizes.values())
