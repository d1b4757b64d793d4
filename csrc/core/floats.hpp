// Activations' number formats: exact decoding to fp32, and what counts as non-finite.
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

}  // namespace pydissect
