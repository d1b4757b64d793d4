"""The CUDA backend: C++ kernels (``csrc/cuda``), built by nvcc where pydissect is installed from source."""

from functools import cache

import torch
from torch import Tensor

from . import CountArguments, Selection, Sums
from .cuda_launch import OTHER_DEVICE, Limits, count_launch
from .cuda_select import select_launch
from .gpu import TorchRanks, no_image
from .torch_sift import TorchSifting

_NOT_BUILT = (
    "its extension is not built; with the CUDA toolkit (nvcc) at hand, install pydissect from source with "
    "PYDISSECT_CUDA=1, which says what is amiss"
)


@cache
def _unusable() -> str | None:
    """Why the extension cannot be imported, or None if it can."""
    try:
        from .. import _cuda  # noqa: F401
    except ModuleNotFoundError:
        return _NOT_BUILT
    except ImportError as error:
        return f"its extension is built, but does not load: {error}"
    return None


@cache
def _missing(index: int) -> str:
    from .. import _cuda

    return _cuda.missing(index)


@cache
def _limits(index: int) -> Limits:
    from .. import _cuda

    limits = _cuda.limits(index)
    return Limits(limits.shared_bytes_a_block, limits.shared_bytes, limits.multiprocessors)


class CudaBackend(TorchRanks, TorchSifting):
    """See :class:`pydissect.backends.Backend`."""

    name = "cuda"

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""
        if (reason := _unusable()) is not None:
            return reason
        if device.type != "cuda":
            # Whether there is a GPU is not asked here: that would start CUDA in programs that do without it.
            return OTHER_DEVICE
        return _missing(device.index or 0) or None

    def details(self) -> str:
        """CUDA's version and the architectures that the extension was built for."""
        from .. import _cuda

        return _cuda.built_for()

    def count(self, arguments: CountArguments, sums: Sums) -> Tensor:
        """Adds the counts of a batch to the sums, on the current stream of the device."""
        from .. import _cuda

        device = arguments.acts.device
        first_nonfinite = no_image(device)
        launch = count_launch(arguments, sums, first_nonfinite, _limits(device.index))
        _cuda.count(launch.fields, device.index, torch.cuda.current_stream(device).cuda_stream)
        return first_nonfinite

    def select(self, acts: Tensor, selection: Selection) -> Tensor:
        """Adds to the selection what a batch holds of it, on the current stream of the device."""
        from .. import _cuda

        device = acts.device
        first_nonfinite = no_image(device)
        if acts.numel():
            launch = select_launch(acts, selection, first_nonfinite)
            _cuda.select(launch.fields, device.index, torch.cuda.current_stream(device).cuda_stream)
        return first_nonfinite


BACKEND = CudaBackend()
