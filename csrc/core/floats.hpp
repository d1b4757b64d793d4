// Activations' number formats: exact decoding to fp32, rounding down to them, and what counts as non-finite.
#pragma once

#include "platform.hpp"

namespace pydissect {

enum class Dtype : int { f32 = 0, f16 = 1, bf16 = 2 };

PYDISSECT_INLINE uint32_t bits_of(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

PYDISSECT_INLINE float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

constexpr uint32_t kMagnitude = 0x7fffffffu;
// NaN, infinite, or of magnitude 2^126 or more: the magnitude's bits reach those of 2^126.
constexpr uint32_t kNonfinite = 0x7e800000u;
constexpr uint32_t kNan = 0x7fc00000u;

PYDISSECT_INLINE bool is_nonfinite(float value) {
  return (bits_of(value) & kMagnitude) >= kNonfinite;
}

PYDISSECT_INLINE float decode_bf16(uint16_t half) {
  return float_of(static_cast<uint32_t>(half) << 16);
}

// Integers alone, so that flush-to-zero cannot touch a subnormal half. A GPU flushes none: it has an instruction.
PYDISSECT_INLINE float decode_f16(uint16_t half) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
#else
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  uint32_t exponent = (half >> 10) & 0x1fu;
  uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1fu) return float_of(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    if (mantissa == 0) return float_of(sign);
    exponent = 1;
    while (!(mantissa & 0x400u)) {
      mantissa <<= 1;
      --exponent;
    }
    mantissa &= 0x3ffu;
  }
  return float_of(sign | ((exponent + 112u) << 23) | (mantissa << 13));
#endif
}

constexpr float kLeastNonfinite = 0x1p126f;

// Integers in the order of the floats they stand for; that of -0.0 is one below that of 0.0.
PYDISSECT_INLINE int64_t order_of(float value) {
  const int32_t bits = static_cast<int32_t>(bits_of(value));
  return bits < 0 ? bits ^ static_cast<int32_t>(kMagnitude) : bits;
}

PYDISSECT_INLINE float value_at(int64_t order) {
  const int32_t bits = static_cast<int32_t>(order);
  return float_of(static_cast<uint32_t>(bits < 0 ? bits ^ static_cast<int32_t>(kMagnitude) : bits));
}

// The same for halves, but 0 for both zeros.
PYDISSECT_INLINE int16_t half_order_of(uint16_t half) {
  const int magnitude = half & 0x7fff;
  return static_cast<int16_t>(half & 0x8000 ? -magnitude : magnitude);
}

// The magnitude's bits from which on a half is non-finite.
template <Dtype kDtype>
constexpr uint16_t kNonfiniteHalf = kDtype == Dtype::f16 ? 0x7c00 : 0x7e80;

// The order of the largest half that is no larger than the value.
template <Dtype kDtype>
PYDISSECT_INLINE int16_t floor_half_order(float value) {
  static_assert(kDtype != Dtype::f32);
  const uint32_t magnitude = bits_of(value) & kMagnitude;
  uint32_t half;
  bool exact;
  if (kDtype == Dtype::bf16) {
    half = magnitude >> 16;
    exact = (magnitude & 0xffffu) == 0;
  } else if (magnitude >= 0x47800000u) {  // 65536 and more; infinity stands for all of them
    half = 0x7c00u;
    exact = true;
  } else if (magnitude >= 0x38800000u) {  // normal halves
    half = (magnitude - (112u << 23)) >> 13;
    exact = (magnitude & 0x1fffu) == 0;
  } else {
    const float steps = float_of(magnitude) * 0x1p24f;
    half = static_cast<uint32_t>(steps);
    exact = static_cast<float>(half) == steps;
  }
  const int order = static_cast<int>(half);
  return static_cast<int16_t>(bits_of(value) >> 31 ? -(order + !exact) : order);
}

}  // namespace pydissect
