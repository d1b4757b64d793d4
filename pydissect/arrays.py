"""Arrays of any library at the door: everything inside is a torch tensor.

torch tensors pass as they are, NumPy arrays and anything that speaks DLPack
(CuPy, JAX, ...) are viewed without a copy, and results go back as the caller's kind.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from .errors import InputError


def as_tensor(array: Any, name: str) -> Tensor:
    """A torch view of ``array``, on its own device.

    Copied is only a NumPy array with negative strides, unaligned values or another byte order than the machine's.

    Args:
        array: a torch tensor, a NumPy array, or an object with ``__dlpack__``.
        name: of the argument, for the error.

    Raises:
        InputError: it is nothing of the kind, or of a dtype that torch lacks.
    """
    if isinstance(array, Tensor):
        if array.layout != torch.strided:
            raise InputError(f"{name}: expected a dense tensor, found layout {array.layout}")
        return array.detach() if array.requires_grad else array
    try:
        if isinstance(array, np.ndarray | np.generic):
            view = np.asarray(array, dtype=array.dtype.newbyteorder("="))
            # Of what NumPy can view, torch cannot: negative strides, parts of elements, unaligned memory.
            if not view.flags.aligned or any(stride < 0 or stride % view.itemsize for stride in view.strides):
                view = view.copy()
            with warnings.catch_warnings():
                # Read-only memory is fine: nothing here writes to an argument.
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                return torch.from_numpy(view)
        if hasattr(array, "__dlpack__"):
            return from_dlpack(array)
    except (TypeError, BufferError, RuntimeError) as error:
        dtype = getattr(array, "dtype", "unknown")
        raise InputError(f"{name}: torch cannot view this {type(array).__name__} of dtype {dtype}: {error}") from None
    raise InputError(
        f"{name}: expected a torch tensor, a NumPy array or an object with __dlpack__, found {type(array).__name__}"
    )


def same_kind(array: Any) -> Callable[[Tensor], Any]:
    """How to give a result back to the caller of ``array``: as the same library's array, same device."""
    if isinstance(array, Tensor):
        return lambda result: result
    if isinstance(array, np.ndarray | np.generic):
        return lambda result: result.numpy()
    if hasattr(array, "__array_namespace__"):
        from_library: Callable[[Tensor], Any] = array.__array_namespace__().from_dlpack
        return from_library
    if type(array).__module__.split(".")[0] == "cupy":
        import cupy  # type: ignore[import-not-found, unused-ignore]

        from_cupy: Callable[[Tensor], Any] = cupy.from_dlpack
        return from_cupy
    return lambda result: result
