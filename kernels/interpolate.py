"""The one Triton definition of interpolation."""

import triton
import triton.language as tl


@triton.jit
def lerp(a: tl.tensor, b: tl.tensor, t: tl.tensor) -> tl.tensor:
    """``a + t * (b - a)``, three roundings: every launch passes ``enable_fp_fusion=False``.

    Monotone in ``t``; for ``0 <= t <= 1 - 2**-22`` the result never exceeds the larger end, so a source cell whose
    corners are all at most ``T`` holds no pixel above ``T``.
    """
    return a + t * (b - a)
