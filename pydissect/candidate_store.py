"""Where candidates wait for the thresholds: in memory and, beyond a limit, in a temporary file."""

import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from .candidates import Candidates
from .errors import InputError

_SHARE = 4  # of the machine's memory, one part in so many


def default_memory() -> int:
    """Bytes for candidates where nothing else is asked for: a quarter of the machine's memory, or of the cgroup's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
        total = min(total, int(text))
    return total // _SHARE


@dataclass
class _Entry:
    """A batch: its tensors, or where they lie in the file."""

    shape: tuple[int, int, int, int]
    tensors: tuple[Tensor, ...] | None
    sizes: tuple[tuple[torch.dtype, int], ...]  # of each tensor
    nbytes: int
    position: int = 0
    mapped: bool = False  # the tensors lie in a file that is not the store's

    @property
    def in_memory(self) -> bool:
        return self.tensors is not None and not self.mapped


class CandidateStore:
    """The candidates of several layers, batch by batch, in the order in which they came.

    Args:
        memory: bytes that they may take in memory; the oldest batches go to the file when they are more. Without it,
            :func:`default_memory`.
        folder: for the file, which has no name there and vanishes with the process; without it, that for temporary
            files (``TMPDIR``).

    Attributes:
        held: bytes in memory.
        peak: the most bytes in memory so far.
        spilled: bytes in the file.
    """

    def __init__(self, memory: int | None = None, folder: str | os.PathLike[str] | None = None) -> None:
        self.memory = default_memory() if memory is None else memory
        self.held = self.peak = self.spilled = 0
        self._folder = Path(tempfile.gettempdir() if folder is None else folder)
        self._entries: dict[str, list[_Entry]] = {}
        self._file: BinaryIO | None = None

    def add(self, layer: str, candidates: Candidates) -> None:
        """Takes up the candidates of a layer's next batch; they are kept on the CPU.

        Raises:
            InputError: they do not fit into memory, nor into the file.
        """
        entry = _entry_of(candidates.to("cpu"))
        self._entries.setdefault(layer, []).append(entry)
        self._hold(entry.nbytes)
        if self.held > self.memory:
            self._spill()

    def add_mapped(self, layer: str, candidates: Candidates) -> None:
        """Takes up a batch whose tensors are maps of a file: it takes no memory, and stays as it is."""
        entry = _entry_of(candidates)
        entry.mapped = True
        self._entries.setdefault(layer, []).append(entry)

    def add_all(self, layer: str, other: "CandidateStore", other_layer: str) -> None:
        """Takes up all batches of a layer of another store, which keeps them too.

        Raises:
            InputError: see :meth:`add`.
        """
        for entry in tuple(other._entries.get(other_layer, ())):
            (self.add_mapped if entry.mapped else self.add)(layer, other._candidates(entry))

    def in_memory(self, layer: str) -> int:
        """Bytes of a layer's candidates in memory."""
        return sum(entry.nbytes for entry in self._entries.get(layer, ()) if entry.in_memory)

    def sizes(self, layer: str) -> list[int]:
        """Images of each of a layer's batches."""
        return [entry.shape[0] for entry in self._entries.get(layer, ())]

    def change(self, layer: str, change: Callable[[Candidates], Candidates]) -> None:
        """Replaces the candidates of a layer that are in memory; what is in a file stays as it is."""
        for entry in self._entries.get(layer, ()):
            if not entry.in_memory:
                continue
            changed = change(self._candidates(entry))
            self._hold(changed.nbytes - entry.nbytes)
            entry.tensors, entry.nbytes = changed.tensors(), changed.nbytes
            entry.sizes = tuple((tensor.dtype, len(tensor)) for tensor in entry.tensors)

    def batches(self, layer: str) -> Iterator[Candidates]:
        """A layer's candidates, batch by batch; any number of times."""
        for entry in self._entries.get(layer, ()):
            yield self._candidates(entry)

    def close(self) -> None:
        """Gives back all memory, and the file."""
        self._entries.clear()
        self.held = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _hold(self, nbytes: int) -> None:
        self.held += nbytes
        self.peak = max(self.peak, self.held)

    def _spill(self) -> None:
        """Moves the oldest batches to the file until half of the memory is free."""
        entries = [entry for layer in self._entries.values() for entry in layer if entry.in_memory]
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, prefix="pydissect-")  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            for entry in entries:
                if self.held <= self.memory // 2:
                    break
                self._write(entry, self._file)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            free = shutil.disk_usage(self._folder).free
            raise InputError(
                f"memory: expected room in {self._folder} for the activations beyond {self.memory:,} bytes of memory "
                f"(after {self.spilled:,} bytes there are {free:,} left); allow more memory (--memory), or set TMPDIR "
                "to a folder with more room"
            ) from None

    def _write(self, entry: _Entry, file: BinaryIO) -> None:
        assert entry.tensors is not None
        entry.position = file.seek(0, os.SEEK_END)
        for tensor in entry.tensors:
            file.write(_bytes_of(tensor))
        # Before the tensors are given up: what is written late can fail late.
        file.flush()
        entry.tensors = None
        self._hold(-entry.nbytes)
        self.spilled += entry.nbytes

    def _candidates(self, entry: _Entry) -> Candidates:
        return Candidates(entry.shape, *(self._read(entry) if entry.tensors is None else entry.tensors))

    def _read(self, entry: _Entry) -> tuple[Tensor, ...]:
        assert self._file is not None
        tensors = [torch.empty(size, dtype=dtype) for dtype, size in entry.sizes]
        self._file.seek(entry.position)
        for tensor in tensors:
            self._file.readinto(_bytes_of(tensor))  # type: ignore[attr-defined]
        return tuple(tensors)


def _entry_of(candidates: Candidates) -> _Entry:
    tensors = candidates.tensors()
    sizes = tuple((tensor.dtype, len(tensor)) for tensor in tensors)
    return _Entry(candidates.shape, tensors, sizes, candidates.nbytes)


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.view(torch.uint8).numpy())  # type: ignore[arg-type]
