"""The CuPy backend: the kernels of ``csrc/cuda``, compiled by NVRTC for the GPU that is there when they are first used.

For where no built extension fits. CuPy keeps what it has compiled in a folder of its own, for the next process.
"""

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _cpu
from . import CountArguments, Selection, Sums
from .cuda_launch import OTHER_DEVICE, STRIDED, THREADS, UNITS, VALUES, Limits, count_launch
from .cuda_select import select_launch
from .gpu import TorchRanks, no_image
from .torch_sift import TorchSifting

_PACKAGE = Path(__file__).parents[1]
_DTYPES = ("f32", "f16", "bf16")
_ORDERS = {VALUES: "values", UNITS: "units", STRIDED: "strided"}
_KERNELS = {"count": (VALUES, UNITS, STRIDED), "select": (VALUES, UNITS)}  # and the orders that they are made for
_LARGEST_GRID = 2**31 - 1


def source_folder() -> Path:
    """``csrc``: in the package where it is installed, beside it in a checkout."""
    installed = _PACKAGE / "csrc"
    return installed if installed.is_dir() else _PACKAGE.parent / "csrc"


def _name(kernel: str, dtype: int, order: int) -> str:
    values = f"pydissect::Dtype::{_DTYPES[dtype]}, pydissect::cuda::Order::{_ORDERS[order]}"
    return f"pydissect::cuda::{kernel}_kernel<{values}>"


def kernel_source() -> tuple[str, list[str], list[str]]:
    """What NVRTC compiles: the source, the flags, and the names of the kernels, of each dtype in each order."""
    folder = source_folder()
    build = json.loads((folder / "cuda" / "build.json").read_text())
    kernel = Path(build["kernel"]).relative_to("csrc")
    # NVRTC takes functions for the host's unless told otherwise.
    flags = [*build["flags"], "-default-device", f"-I{folder}"]
    names = [_name(name, dtype, order) for name, orders in _KERNELS.items() for dtype in range(3) for order in orders]
    return f'#include "{kernel.as_posix()}"\n', flags, names


@lru_cache(maxsize=64)
def _missing(index: int) -> str | None:
    import cupy

    try:
        devices = cupy.cuda.runtime.getDeviceCount()
        if index >= devices:
            return f"CuPy finds {devices} CUDA devices"
        cupy.cuda.nvrtc.getVersion()
    except (RuntimeError, ImportError, OSError) as error:  # no driver, no device, or no library of NVRTC
        return f"CuPy cannot be used: {error}".partition("\n")[0]
    return None


@lru_cache(maxsize=64)
def _limits(index: int) -> Limits:
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(index)
    return Limits(
        properties["sharedMemPerBlockOptin"],
        properties["sharedMemPerMultiprocessor"],
        properties["multiProcessorCount"],
    )


@lru_cache(maxsize=64)
def _kernel(index: int, name: str) -> Any:
    """A kernel on a device; its module is compiled once."""
    import cupy

    source, flags, names = kernel_source()
    with cupy.cuda.Device(index):
        module = cupy.RawModule(code=source, options=tuple(flags), backend="nvrtc", name_expressions=names)
        return module.get_function(name)


class CupyBackend(TorchRanks, TorchSifting):
    """See :class:`pydissect.backends.Backend`."""

    name = "cupy"

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""
        if find_spec("cupy") is None:
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
        import cupy

        device = arguments.acts.device
        first_nonfinite = no_image(device)
        fields = count_launch(arguments, sums, first_nonfinite, _limits(device.index)).fields
        kernel = _kernel(device.index, _name("count", fields["dtype"], fields["order"]))
        structure = np.frombuffer(_cpu.cuda_arguments(fields), np.uint8)
        stream = torch.cuda.current_stream(device).cuda_stream
        with cupy.cuda.Device(device.index), cupy.cuda.ExternalStream(stream, device.index):
            kernel.max_dynamic_shared_size_bytes = fields["shared_bytes"]
            for first in range(0, fields["blocks"], _LARGEST_GRID):
                blocks = min(fields["blocks"] - first, _LARGEST_GRID)
                kernel((blocks,), (THREADS,), (structure, np.int64(first)), shared_mem=fields["shared_bytes"])
        return first_nonfinite

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        """Adds to the selection what a batch holds of it, on the current stream of the device."""
        import cupy

        device = acts.device
        first_nonfinite = no_image(device)
        if not acts.numel():
            return first_nonfinite
        fields = select_launch(acts, selection, first_nonfinite).fields
        kernel = _kernel(device.index, _name("select", fields["dtype"], fields["order"]))
        structure = np.frombuffer(_cpu.cuda_select_arguments(fields), np.uint8)
        stream = torch.cuda.current_stream(device).cuda_stream
        with cupy.cuda.Device(device.index), cupy.cuda.ExternalStream(stream, device.index):
            kernel((fields["blocks"],), (THREADS,), (structure,))
        return first_nonfinite


BACKEND = CupyBackend()
