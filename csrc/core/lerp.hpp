// The one C++ definition of interpolation. V is a float or a vector of floats.
#pragma once

namespace pydissect {

// a + t * (b - a) for many t. Three roundings, never a fused multiply-add: every build passes
// -ffp-contract=off. Monotone in t; for 0 <= t <= 1 - 2^-22 the result never exceeds the larger
// end, so a source cell whose corners are all at most T holds no pixel above T.
template <class V>
struct Lerp {
  V start, difference;

  inline __attribute__((always_inline)) Lerp(V a, V b) : start(a), difference(b - a) {}
  inline __attribute__((always_inline)) V at(V t) const { return start + t * difference; }
};

}  // namespace pydissect
