"""The CuPy backend: the kernels of ``csrc/cuda``, compiled by NVRTC for the GPU that is there when they are first used.

For where no built extension fits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import _cpu
from . import CountArguments, Selection, Sums
from .cuda_launch import OTHER_DEVICE, THREADS, Limits, count_launch
from .cuda_select import select_launch
from .gpu import TorchRanks, no_image
from .nvrtc import compiled_kernels, kernel_name
from .torch_sift import TorchSifting

_LARGEST_GRID = 2**31 - 1


@cache
def _installed() -> bool:
    return find_spec("cupy") is not None


@cache
def _missing(index: int) -> str | None:
    try:
        import cupy

        devices = cupy.cuda.runtime.getDeviceCount()
        if index >= devices:
            return f"CuPy finds {devices} CUDA devices"
        cupy.cuda.nvrtc.getVersion()
    except (RuntimeError, ImportError, OSError) as error:  # no driver, no device, no library of NVRTC, or no sound CuPy
        return f"CuPy cannot be used: {error}".partition("\n")[0]
    return None


@cache
def _limits(index: int) -> Limits:
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(index)
    return Limits(
        properties["sharedMemPerBlockOptin"],
        properties["sharedMemPerMultiprocessor"],
        properties["multiProcessorCount"],
    )


@cache
def _module(index: int) -> tuple[Any, dict[str, str]]:
    """The kernels on a device, and their symbols."""
    import cupy

    with cupy.cuda.Device(index) as device:
        cubin, symbols = compiled_kernels(int(device.compute_capability))
        return cupy.RawModule(path=str(cubin)), symbols


@cache
def _kernel(index: int, name: str) -> Any:
    """A kernel on a device, which may have all the shared memory that there is."""
    import cupy

    module, symbols = _module(index)
    with cupy.cuda.Device(index):
        kernel = module.get_function(symbols[name])
        # At once and for good: another thread may be about to start it.
        kernel.max_dynamic_shared_size_bytes = _limits(index).shared_bytes_a_block
        return kernel


class _TorchStream:
    """The current stream of torch on a device, as the CUDA stream protocol has it, which older torch lacks."""

    def __init__(self, device: torch.device) -> None:
        self._handle = torch.cuda.current_stream(device).cuda_stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


@contextmanager
def _current(device: torch.device) -> Iterator[None]:
    import cupy

    with cupy.cuda.Device(device.index), cupy.cuda.Stream.from_external(_TorchStream(device)):
        yield


def as_argument(structure: bytes) -> npt.NDArray[np.void]:
    """A structure that a kernel takes by value: CuPy passes arrays of a single element so, of whatever size."""
    return np.frombuffer(structure, f"V{len(structure)}")


class CupyBackend(TorchRanks, TorchSifting):
    """See :class:`pydissect.backends.Backend`."""

    name = "cupy"

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""
        if not _installed():
            return "CuPy is not installed; pip install 'pydissect[cuda]'"
        if device.type != "cuda":
            return OTHER_DEVICE
        return _missing(device.index or 0)

    def details(self) -> str:
        """CuPy's version and that of NVRTC."""
        import cupy

        major, minor = cupy.cuda.nvrtc.getVersion()
        return f"CuPy {cupy.__version__}, NVRTC {major}.{minor}"

    def count(self, arguments: CountArguments, sums: Sums) -> Tensor:
        """Adds the counts of a batch to the sums, on the current stream of the device."""
        device = arguments.acts.device
        first_nonfinite = no_image(device)
        fields = count_launch(arguments, sums, first_nonfinite, _limits(device.index)).fields
        kernel = _kernel(device.index, kernel_name("count", fields["dtype"], fields["order"]))
        structure = as_argument(_cpu.cuda_arguments(fields))
        with _current(device):
            for first in range(0, fields["blocks"], _LARGEST_GRID):
                blocks = min(fields["blocks"] - first, _LARGEST_GRID)
                kernel((blocks,), (THREADS,), (structure, np.int64(first)), shared_mem=fields["shared_bytes"])
        return first_nonfinite

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        """Adds to the selection what a batch holds of it, on the current stream of the device."""
        device = acts.device
        first_nonfinite = no_image(device)
        if not acts.numel():
            return first_nonfinite
        fields = select_launch(acts, selection, first_nonfinite).fields
        kernel = _kernel(device.index, kernel_name("select", fields["dtype"], fields["order"]))
        structure = as_argument(_cpu.cuda_select_arguments(fields))
        with _current(device):
            kernel((fields["blocks"],), (THREADS,), (structure,))
        return first_nonfinite


BACKEND = CupyBackend()
