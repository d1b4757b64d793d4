// The first stage: which values of a block of units' maps exceed the units' lowest thresholds.
#pragma once

#include "bits.hpp"
#include "maps.hpp"

namespace pydissect {

// The most entries that a map's hot values take, and one more that may be written to.
inline __attribute__((always_inline)) int64_t hot_capacity(int64_t size) { return size / 32 + 2; }

// What a scan found of a map.
struct Scan {
  int hot_count;
  bool nonfinite;  // is any value?
};

// Units whose values lie side by side are compared side by side, and their bits then transposed.
// Returns whether any value is non-finite.
template <class Isa, Dtype kDtype>
bool scan_units(const Block<typename Element<kDtype>::Stored>& block, int h, int w, const float* lowest, Hot* hot,
                Scan* scans) {
  const int size = h * w;
  const int64_t capacity = hot_capacity(size);
  typename Isa::UnitScan scan(lowest, block.units);
  for (int u = 0; u < block.units; ++u) scans[u].hot_count = 0;
  for (int begin = 0, y = 0, x = 0; begin < size; begin += 32) {
    uint32_t above[32] = {}, any = 0;
    for (int i = 0; i < std::min(size - begin, 32); ++i) {
      above[i] = scan.template above<kDtype>(block.values + y * block.stride_y + x * block.stride_x);
      any |= above[i];
      if (++x == w) x = 0, ++y;
    }
    if (!any) continue;
    transpose_bits<Isa>(above);
    for (int u = 0; u < block.units; ++u) append_hot(hot + u * capacity, scans[u].hot_count, begin, above[u]);
  }
  return scan.nonfinite();
}

// Units whose maps are contiguous. Returns whether any value is non-finite.
template <class Isa, Dtype kDtype>
bool scan_maps(const Block<typename Element<kDtype>::Stored>& block, int h, int w, const float* lowest, Hot* hot,
               Scan* scans) {
  const int size = h * w;
  typename Isa::template MapScan<kDtype> scan;
  for (int u = 0; u < block.units; ++u) {
    const auto* map = block.values + u * block.stride_u;
    scans[u].hot_count = scan.find(map, size, Element<kDtype>::cut(lowest[u]), hot + u * hot_capacity(size));
  }
  return scan.nonfinite();
}

// Fills in which maps have a non-finite value.
template <class Isa, Dtype kDtype>
void find_nonfinite(const Block<typename Element<kDtype>::Stored>& block, int h, int w, Scan* scans) {
  for (int u = 0; u < block.units; ++u) {
    for (int64_t y = 0; y < h; ++y) {
      const auto* row = block.values + u * block.stride_u + y * block.stride_y;
      for (int64_t x = 0; x < w; ++x) {
        scans[u].nonfinite |= is_nonfinite(Element<kDtype>::decode(row[x * block.stride_x]));
      }
    }
  }
}

}  // namespace pydissect
