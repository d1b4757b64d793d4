// Reads activation maps of any dtype and strides as contiguous fp32, a few units at a time.
#pragma once

#include "job.hpp"

namespace pydissect {

constexpr int kUnitBlock = 16;

template <Dtype kDtype>
struct Element;
template <>
struct Element<Dtype::f32> {
  using Stored = float;
  static __attribute__((always_inline)) float decode(float value) { return value; }
};
template <>
struct Element<Dtype::f16> {
  using Stored = uint16_t;
  static __attribute__((always_inline)) float decode(uint16_t value) { return decode_f16(value); }
};
template <>
struct Element<Dtype::bf16> {
  using Stored = uint16_t;
  static __attribute__((always_inline)) float decode(uint16_t value) { return decode_bf16(value); }
};

template <class Isa, Dtype kDtype>
void read_block(const Acts& acts, int64_t n, int64_t u0, int count, float* scratch, const float** maps) {
  using Stored = typename Element<kDtype>::Stored;
  const Stored* base = static_cast<const Stored*>(acts.data) + n * acts.stride_n + u0 * acts.stride_u;
  const int size = acts.h * acts.w;
  const bool map_contiguous = (acts.stride_x == 1 || acts.w == 1) && (acts.stride_y == acts.w || acts.h == 1);
  for (int u = 0; u < count; ++u) maps[u] = scratch + static_cast<int64_t>(u) * size;
  if (map_contiguous) {
    for (int u = 0; u < count; ++u) {
      const Stored* map = base + u * acts.stride_u;
      if constexpr (kDtype == Dtype::f32) {
        maps[u] = map;
      } else {
        Isa::template decode<kDtype>(map, size, scratch + static_cast<int64_t>(u) * size);
      }
    }
    return;
  }
  // Units innermost: with channels-last activations the reads are the contiguous side.
  for (int y = 0; y < acts.h; ++y) {
    for (int x = 0; x < acts.w; ++x) {
      const Stored* pixel = base + y * acts.stride_y + x * acts.stride_x;
      float* out = scratch + y * acts.w + x;
      for (int u = 0; u < count; ++u) {
        out[static_cast<int64_t>(u) * size] = Element<kDtype>::decode(pixel[u * acts.stride_u]);
      }
    }
  }
}

// maps[i] points at the fp32 values [h * w] of unit u0 + i of image n, in `acts` itself where
// they lie there as such, else in scratch [kUnitBlock, h * w].
template <class Isa>
void read_maps(const Acts& acts, int64_t n, int64_t u0, int count, float* scratch, const float** maps) {
  switch (acts.dtype) {
    case Dtype::f32:
      return read_block<Isa, Dtype::f32>(acts, n, u0, count, scratch, maps);
    case Dtype::f16:
      return read_block<Isa, Dtype::f16>(acts, n, u0, count, scratch, maps);
    case Dtype::bf16:
      return read_block<Isa, Dtype::bf16>(acts, n, u0, count, scratch, maps);
  }
}

// Which values of a map exceed a threshold, a bit each, and what the scan met on its way.
struct Scan {
  bool any;
  bool nonfinite;
};

// A copy of the map in which non-finite values are NaN, so that no comparison or
// interpolation with one of them comes out above a threshold.
template <class Isa>
const float* finite_or_nan(const float* map, int size, float* out) {
  for (int i = 0; i < size; ++i) {
    out[i] = is_nonfinite(map[i]) ? float_of(kNan) : map[i];
  }
  return out;
}

}  // namespace pydissect
