"""The largest of many values."""

import torch
from torch import Tensor


def largest(values: Tensor, count: int) -> Tensor:
    """The ``count`` largest of each row, falling; ``values [rows, any]`` fp32 without NaN.

    Ordered as integers, for the calling program may have asked torch to flush subnormals to zero.
    """

    def swap(bits: Tensor) -> Tensor:  # its own inverse
        return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)

    return swap(swap(values.contiguous().view(torch.int32)).topk(count, dim=1).values).view(torch.float32)
