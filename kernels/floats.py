"""Activations' number formats, and what counts as non-finite."""

import triton
import triton.language as tl

NONFINITE = tl.constexpr(0x7E800000)
"""NaN, infinite, or of magnitude 2**126 or more: the magnitude's bits reach those of 2**126."""


@triton.jit
def magnitude_bits(value):
    """The bits of an fp32 value without its sign, int32."""
    return value.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@triton.jit
def decode(value):
    """An activation as fp32, exactly."""
    if value.dtype == tl.bfloat16:
        value = (value.to(tl.int16, bitcast=True).to(tl.int32) << 16).to(tl.float32, bitcast=True)
    return value.to(tl.float32)


@triton.jit
def finite_or_nan(value):
    """An fp32 value, NaN if it is non-finite."""
    return tl.where(magnitude_bits(value) < NONFINITE, value, float("nan"))


@triton.jit
def key_of(value):
    """uint32, rising with an fp32 value; -0.0 comes just below 0.0."""
    bits = value.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, ~bits, bits ^ -0x80000000).to(tl.uint32, bitcast=True)


@triton.jit
def value_of(key):
    """The fp32 value of a key."""
    bits = key.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ -0x80000000, ~bits).to(tl.float32, bitcast=True)
