// Activations in a number format, 16 bytes of them at once.
#pragma once

#include "../core/floats.hpp"
#include "warp.cuh"

namespace pydissect::cuda {

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
