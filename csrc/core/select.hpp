// Exact streaming selection: per unit, the values that can still be among the `keep` largest.
//
// A unit's buffer holds every value above its bound seen so far. When the buffer is full the
// caller's `prune` keeps the largest `keep` of them and raises the bound to their smallest:
// at least `keep` values are no smaller, so nothing at or below it matters to the result.
#pragma once

#include <algorithm>

#include <limits>

#include "maps.hpp"

namespace pydissect {

struct Selection {
  float* values;            // [U, capacity]
  int64_t* fill;            // [U] values held
  float* bound;             // [U]
  int64_t capacity;         // more than keep
  int64_t keep;
  int64_t first_nonfinite;  // smallest n * U + u, or INT64_MAX
};

// Keeps the largest `keep` of `capacity` values, in any order; returns the smallest of them.
using Prune = float (*)(float* values, int64_t capacity, int64_t keep);

template <class Isa>
void select_part(const Acts& acts, const Part& part, Prune prune, float* scratch, float* finite, Hot* hot,
                 Selection& selection) {
  const int size = acts.h * acts.w;
  const float* maps[kUnitBlock];
  for (int64_t n = part.image_begin; n < part.image_end; ++n) {
    for (int64_t u0 = part.unit_begin; u0 < part.unit_end; u0 += kUnitBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kUnitBlock, part.unit_end - u0));
      for (int i = 0; i < count; ++i) {
        const auto fill = [&](auto element) {
          using E = decltype(element);
          const auto* v = static_cast<const typename E::Stored*>(acts.data) + n * acts.stride_n + (u0 + i) * acts.stride_u;
          float* out = scratch + static_cast<int64_t>(i) * size;
          maps[i] = out;
          for (int y = 0; y < acts.h; ++y)
            for (int x = 0; x < acts.w; ++x) *out++ = E::decode(v[y * acts.stride_y + x * acts.stride_x]);
        };
        if (acts.dtype == Dtype::f32) fill(Element<Dtype::f32>());
        else if (acts.dtype == Dtype::f16) fill(Element<Dtype::f16>());
        else fill(Element<Dtype::bf16>());
      }
      for (int i = 0; i < count; ++i) {
        const int64_t u = u0 + i;
        const float* map = maps[i];
        Scan scan = Isa::template scan<Dtype::f32>(map, size, selection.bound[u], hot);
        if (scan.nonfinite) {
          selection.first_nonfinite = std::min(selection.first_nonfinite, n * acts.units + u);
          for (int j = 0; j < size; ++j) finite[j] = is_nonfinite(map[j]) ? float_of(kNan) : map[j];
          map = finite;
          scan = Isa::template scan<Dtype::f32>(map, size, selection.bound[u], hot);
        }
        if (!scan.hot_count) continue;
        float* values = selection.values + u * selection.capacity;
        for (int k = 0; k < scan.hot_count; ++k) {
          for (uint32_t bits = static_cast<uint32_t>(hot[k]); bits; bits &= bits - 1) {
            const float value = map[(hot[k] >> 32) + __builtin_ctz(bits)];
            // The bound may have risen since the scan.
            if (!(value > selection.bound[u])) continue;
            values[selection.fill[u]++] = value;
            if (selection.fill[u] == selection.capacity) {
              selection.bound[u] = prune(values, selection.capacity, selection.keep);
              selection.fill[u] = selection.keep;
            }
          }
        }
      }
    }
  }
}

}  // namespace pydissect
