// Activations' number formats: exact decoding to fp32, rounding down to them, and what counts as non-finite.
#pragma once

#include <cstdint>
#include <cstring>

namespace pydissect {

enum class Dtype : int { f32 = 0, f16 = 1, bf16 = 2 };

inline __attribute__((always_inline)) uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline __attribute__((always_inline)) float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

constexpr uint32_t kMagnitude = 0x7fffffffu;
// NaN, infinite, or of magnitude 2^126 or more: the magnitude's bits reach those of 2^126.
constexpr uint32_t kNonfinite = 0x7e800000u;
constexpr uint32_t kNan = 0x7fc00000u;

inline __attribute__((always_inline)) bool is_nonfinite(float value) {
  return (bits_of(value) & kMagnitude) >= kNonfinite;
}

inline __attribute__((always_inline)) float decode_bf16(uint16_t half) {
  return float_of(static_cast<uint32_t>(half) << 16);
}

// Integers alone, so that flush-to-zero cannot touch a subnormal half.
inline __attribute__((always_inline)) float decode_f16(uint16_t half) {
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
}

// The bits of the largest bf16 that is not above `value`; -0.0 is taken for 0.0.
inline __attribute__((always_inline)) uint16_t floor_bf16(float value) {
  const uint32_t bits = bits_of(value);
  if (!(bits & kMagnitude)) return 0;
  const bool towards_zero_is_up = (bits >> 31) && (bits & 0xffffu);
  return static_cast<uint16_t>((bits >> 16) + towards_zero_is_up);
}

// The bits of the largest fp16 that is not above `value`, which is not NaN; -0.0 is taken for 0.0.
inline __attribute__((always_inline)) uint16_t floor_f16(float value) {
  const uint32_t bits = bits_of(value), magnitude = bits & kMagnitude;
  if (!magnitude) return 0;
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  const uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
  uint32_t half;  // rounded towards zero
  bool inexact = true;
  if (exponent > 15) {
    half = 0x7bffu;
  } else if (exponent >= -14) {
    half = (magnitude - (112u << 23)) >> 13;
    inexact = magnitude & 0x1fffu;
  } else if (exponent >= -24) {
    const int shift = -1 - exponent;
    half = significand >> shift;
    inexact = significand & ((1u << shift) - 1);
  } else {
    half = 0;
  }
  if (!(bits >> 31)) return static_cast<uint16_t>(half);
  return static_cast<uint16_t>(0x8000u | (half + inexact));
}

}  // namespace pydissect
