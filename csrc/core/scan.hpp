// The first stage: which values of a block of units' maps exceed the units' lowest thresholds.
#pragma once

#include "bits.hpp"
#include "maps.hpp"

namespace pydissect {

// The most entries that a map's hot values take, and one more that may be written to.
inline __attribute__((always_inline)) int64_t hot_capacity(int64_t size) { return size / 32 + 2; }

// Units whose values lie side by side are compared side by side, and their bits then transposed.
template <class Isa, Dtype kDtype>
void scan_units(const Block<typename Element<kDtype>::Stored>& block, int h, int w, const float* lowest, Hot* hot,
                Scan* scans) {
  const int size = h * w;
  const int64_t capacity = hot_capacity(size);
  typename Isa::UnitScan scan(lowest, block.units);
  for (int u = 0; u < block.units; ++u) scans[u].hot_count = 0;
  for (int begin = 0, y = 0, x = 0; begin < size; begin += 32) {
    uint32_t above[32] = {}, any = 0;
    for (int i = 0; i < std::min(size - begin, 32); ++i) {
      above[i] = scan.template compare<kDtype>(block.values + y * block.stride_y + x * block.stride_x);
      any |= above[i];
      if (++x == w) x = 0, ++y;
    }
    if (!any) continue;
    transpose_bits<Isa>(above);
    for (int u = 0; u < block.units; ++u) append_hot(hot + u * capacity, scans[u].hot_count, begin, above[u]);
  }
  const uint32_t nonfinite = scan.nonfinite();
  for (int u = 0; u < block.units; ++u) scans[u].nonfinite = nonfinite >> u & 1;
}

// Units whose maps are contiguous.
template <class Isa, Dtype kDtype>
void scan_maps(const Block<typename Element<kDtype>::Stored>& block, int h, int w, const float* lowest, Hot* hot,
               Scan* scans) {
  const int size = h * w;
  for (int u = 0; u < block.units; ++u) {
    scans[u] = Isa::template scan<kDtype>(block.values + u * block.stride_u, size, Element<kDtype>::cut(lowest[u]),
                                          hot + u * hot_capacity(size));
  }
}

}  // namespace pydissect
