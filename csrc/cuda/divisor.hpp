// Division by a number that is the same for all, by a multiplication.
#pragma once

#include "../core/platform.hpp"

namespace pydissect::cuda {

// Exact for dividends below 2^31: with 2^shift >= divisor the multiplier, rounded up, is off by less than one
// part in 2^31 of the quotient's unit (Granlund and Montgomery 1994, theorem 4.2).
struct Divisor {
  uint32_t divisor, multiplier;
  int shift;

  static PYDISSECT_INLINE Divisor by(uint32_t divisor) {
    int bits = 0;
    while ((uint64_t{1} << bits) < divisor) ++bits;
    const uint64_t power = uint64_t{1} << (31 + bits);
    return {divisor, static_cast<uint32_t>((power + divisor - 1) / divisor), bits};
  }

  PYDISSECT_INLINE uint32_t quotient(uint32_t dividend) const {
#if defined(__CUDA_ARCH__)
    return __umulhi(2 * dividend, multiplier) >> shift;
#else
    return static_cast<uint32_t>((static_cast<uint64_t>(dividend) * multiplier) >> 31 >> shift);
#endif
  }
  PYDISSECT_INLINE uint32_t remainder(uint32_t dividend) const { return dividend - quotient(dividend) * divisor; }
};

}  // namespace pydissect::cuda
