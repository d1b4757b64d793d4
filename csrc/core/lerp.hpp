// The one C++ definition of interpolation. V is a float or a vector of floats.
#pragma once

namespace pydissect {

// Three roundings, never a fused multiply-add: every build passes -ffp-contract=off.
// Monotone in t; for 0 <= t <= 1 - 2^-22 the result never exceeds the larger end, so a
// source cell whose corners are all at most T holds no pixel above T.
template <class V>
inline __attribute__((always_inline)) V lerp(V a, V b, V t) {
  return a + t * (b - a);
}

}  // namespace pydissect
