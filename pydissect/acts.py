"""Activations at the door: shape and dtype are checked here, once."""

from typing import Any

import torch
from torch import Tensor

from .arrays import as_tensor
from .errors import InputError

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def as_acts(acts: Any) -> Tensor:
    """Activation maps as a tensor ``[N, U, h, w]`` of fp32, fp16 or bf16, without a copy.

    Raises:
        InputError: another shape or dtype.
    """
    tensor = as_tensor(acts, "acts")
    if tensor.dtype not in DTYPES:
        found = str(tensor.dtype).removeprefix("torch.")
        advice = "; convert it with .float()" if tensor.is_floating_point() else ""
        raise InputError(f"acts: expected float32, float16 or bfloat16, found {found}{advice}")
    shape = tensor.shape
    if len(shape) != 4 or 0 in (shape[2], shape[3]):
        raise InputError(f"acts: expected activation maps [N, U, h, w], found shape {list(shape)}")
    return tensor
