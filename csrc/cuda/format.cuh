// Activations in a number format, 16 bytes of them at once.
#pragma once

#include "../core/floats.hpp"
#include "warp.cuh"

namespace pydissect::cuda {

// The largest half in fp16 that is no larger than the value: a half is above the one if it is above the other.
PYDISSECT_INLINE uint32_t floor_half(float value) {
#if defined(__CUDA_ARCH__)
  uint16_t half;
  asm("cvt.rm.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
#else
  const int order = floor_half_order<Dtype::f16>(value);
  return order < 0 ? 0x8000u - order : order;
#endif
}

// Of two halves in fp16 each: 16 bits that are set where the first's is larger than the second's.
PYDISSECT_INLINE uint32_t above_halves(uint32_t first, uint32_t second) {
#if defined(__CUDA_ARCH__)
  uint32_t above;
  asm("set.gt.u32.f16x2 %0, %1, %2;" : "=r"(above) : "r"(first), "r"(second));
  return above;
#else
  uint32_t above = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const float a = decode_f16(static_cast<uint16_t>(first >> shift));
    const float b = decode_f16(static_cast<uint16_t>(second >> shift));
    if (a > b) above |= 0xffffu << shift;
  }
  return above;
#endif
}

// Of two halves in fp16 each, the larger magnitudes; NaN if one is NaN.
PYDISSECT_INLINE uint32_t largest_halves(uint32_t first, uint32_t second) {
#if defined(__CUDA_ARCH__)
  uint32_t largest;
  asm("{ .reg .b32 a, b; abs.f16x2 a, %1; abs.f16x2 b, %2; max.NaN.f16x2 %0, a, b; }"
      : "=r"(largest)
      : "r"(first), "r"(second));
  return largest;
#else
  // The order of magnitudes is that of their bits, and NaN's are the largest.
  first &= 0x7fff7fffu, second &= 0x7fff7fffu;
  const uint32_t low = (first & 0xffffu) > (second & 0xffffu) ? first : second;
  return ((first >> 16) > (second >> 16) ? first : second) & 0xffff0000u | low & 0xffffu;
#endif
}

template <Dtype kDtype>
struct Format {
  static constexpr bool kHalf = kDtype != Dtype::f32;
  static constexpr int kBytes = kHalf ? 2 : 4;
  static constexpr int kWide = 16 / kBytes;  // values of a wide load
  // Adding the lift to a magnitude reaches the sign's bit if the value is non-finite; for two halves at once.
  static constexpr uint32_t kMagnitudes = kHalf ? 0x7fff7fffu : kMagnitude;
  static constexpr uint32_t kSigns = ~kMagnitudes;
  static constexpr uint32_t kLift = kHalf ? (0x8000u - kNonfiniteHalf<kDtype>) * 0x10001u : 0x80000000u - kNonfinite;

  static PYDISSECT_INLINE float decode(uint32_t bits) {
    if constexpr (kDtype == Dtype::f32) return float_of(bits);
    if constexpr (kDtype == Dtype::f16) return decode_f16(static_cast<uint16_t>(bits));
    return decode_bf16(static_cast<uint16_t>(bits));
  }
  static PYDISSECT_INLINE float value(const Wide& wide, int i) {
    if constexpr (kHalf) return decode(wide.words[i / 2] >> i % 2 * 16 & 0xffffu);
    return decode(wide.words[i]);
  }
  static PYDISSECT_INLINE bool has_nonfinite(const Wide& wide) {
    uint32_t lifted = 0;
    for (int i = 0; i < 4; ++i) lifted |= (wide.words[i] & kMagnitudes) + kLift;
    return (lifted & kSigns) != 0;
  }
  // Whether one of either is.
  static PYDISSECT_INLINE bool has_nonfinite(const Wide& first, const Wide& second) {
    if constexpr (kDtype == Dtype::f16) {
      uint32_t largest = 0;
      PYDISSECT_UNROLL
      for (int i = 0; i < 4; ++i) largest = largest_halves(largest, largest_halves(first.words[i], second.words[i]));
      return ((largest + kLift) & kSigns) != 0;
    }
    return has_nonfinite(first) || has_nonfinite(second);
  }
  // Bit i says whether value i is above the level.
  static PYDISSECT_INLINE uint32_t above(const Wide& wide, float level) {
    uint32_t bits = 0;
    if constexpr (kDtype == Dtype::f16) {
      const uint32_t cut = floor_half(level) * 0x10001u;
      PYDISSECT_UNROLL
      for (int i = 0; i < 4; ++i) bits |= above_halves(wide.words[i], cut) & 0x20001u << 2 * i;
      return (bits | bits >> 16) & 0xffu;
    } else {
      PYDISSECT_UNROLL
      for (int i = 0; i < kWide; ++i) bits |= static_cast<uint32_t>(value(wide, i) > level) << i;
      return bits;
    }
  }
  // Where the values stand one by one.
  static PYDISSECT_INLINE void set(Wide& wide, int i, const void* address) {
    if constexpr (kHalf) {
      wide.words[i / 2] |= static_cast<uint32_t>(*static_cast<const uint16_t*>(address)) << i % 2 * 16;
    } else {
      wide.words[i] = *static_cast<const uint32_t*>(address);
    }
  }
  static PYDISSECT_INLINE float load(const void* data, int64_t place) {
    if constexpr (kHalf) return decode(static_cast<const uint16_t*>(data)[place]);
    return static_cast<const float*>(data)[place];
  }
};

}  // namespace pydissect::cuda
