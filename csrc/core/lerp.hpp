// The one C++ definition of interpolation. V is a float or a vector of floats.
#pragma once

#include "platform.hpp"

namespace pydissect {

namespace rounded {

// Sum, difference and product, each rounded by itself: processors' builds pass -ffp-contract=off, and
// on a GPU the intrinsics are never fused, whatever the flags.
template <class V>
PYDISSECT_INLINE V add(V a, V b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

template <class V>
PYDISSECT_INLINE V subtract(V a, V b) {
#if defined(__CUDA_ARCH__)
  return __fsub_rn(a, b);
#else
  return a - b;
#endif
}

template <class V>
PYDISSECT_INLINE V multiply(V a, V b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

}  // namespace rounded

// a + t * (b - a) for many t. Three roundings, never a fused multiply-add. Monotone in t; for
// 0 <= t <= 1 - 2^-22 the result never exceeds the larger end, so a source cell whose corners are
// all at most T holds no pixel above T.
template <class V>
struct Lerp {
  V start, difference;

  PYDISSECT_INLINE Lerp(V a, V b) : start(a), difference(rounded::subtract(b, a)) {}
  PYDISSECT_INLINE V at(V t) const { return rounded::add(start, rounded::multiply(t, difference)); }
};

}  // namespace pydissect
