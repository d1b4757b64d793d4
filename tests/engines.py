"""Everything that can count: each backend, the CPU backend once for each instruction set, and those of tests alone.

Every backend there is and will be appears here by itself, through ``backend_names()``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from cuda_host import CudaHost
from torch import Tensor

from pydissect import _cpu, backends
from pydissect.backends import Backend, backend_names, choose_backend
from pydissect.errors import InputError


@dataclass(frozen=True)
class Engine:
    """A backend, for the CPU's the instruction set that caps it, and for one of tests alone what it is."""

    backend: str
    level: str = ""
    own: Backend | None = None

    def __str__(self) -> str:
        return f"{self.backend}-{self.level}" if self.level else self.backend

    @property
    def unavailable(self) -> str | None:
        """Why it cannot be had on this machine."""
        if self.own is not None:
            return self.own.unavailable(self.device)
        reason = None
        for name in ("cpu", "cuda"):
            try:
                choose_backend(self.backend, torch.device(name))
            except InputError as error:
                reason = reason or str(error)
            else:
                return None
        return reason

    @property
    def device(self) -> torch.device:
        """A device that the backend works on, or the CPU where it works nowhere."""
        if self.own is not None:
            return torch.device("cpu")
        for name in ("cpu", "cuda"):
            try:
                choose_backend(self.backend, torch.device(name))
            except InputError:
                continue
            return torch.device(name)
        return torch.device("cpu")

    def placed(self, acts: Tensor) -> Tensor:
        """Activations on its device, with the same strides, which are the point of many cases."""
        return acts if self.device.type == "cpu" else _like(acts, self.device)

    @contextmanager
    def chosen(self) -> Iterator[str]:
        """With the instruction set capped; gives the backend's name."""
        if (reason := self.unavailable) is not None:
            pytest.skip(reason)
        own = {} if self.own is None else {self.backend: lambda: self.own}
        with (
            mock.patch.dict(os.environ, {"PYDISSECT_CPU_LEVEL": self.level}),
            mock.patch.dict(backends._LOADERS, own),
        ):
            yield self.backend


def _like(acts: Tensor, device: torch.device) -> Tensor:
    """A copy on a device, with the same strides; memory between the values is NaN."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(acts.shape, acts.stride(), strict=True))
    storage = torch.full((max(span, 1),), torch.nan, dtype=acts.dtype, device=device)
    view = storage.as_strided(acts.shape, acts.stride())
    compact = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in acts.stride())
    view[compact] = acts[compact].to(device)
    return view


CPU = [Engine("cpu", level) for level in _cpu.levels()]
CUDA_HOST = Engine("cuda-host", own=CudaHost())
ENGINES = [*CPU, *(Engine(name) for name in backend_names() if name != "cpu"), CUDA_HOST]
AVAILABLE = [engine for engine in ENGINES if engine.unavailable is None]

each_engine = pytest.mark.parametrize("engine", ENGINES, ids=str)
each_cpu_level = pytest.mark.parametrize("engine", CPU, ids=str)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """With another number of torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
