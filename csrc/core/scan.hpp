// The first stage: which values of a block of units' maps exceed the units' lowest thresholds, a bit each.
#pragma once

#include "bits.hpp"
#include "maps.hpp"

namespace pydissect {

// Words of the bitmap of a map's values; one more is readable.
inline __attribute__((always_inline)) int64_t hot_words(int64_t size) { return size / 64 + 2; }

// Units whose values lie side by side are compared side by side, and their bits then transposed.
template <class Isa, Dtype kDtype>
void scan_units(const Block<typename Element<kDtype>::Stored>& block, int h, int w, const float* lowest, uint64_t* hot,
                Scan* scans) {
  const int size = h * w;
  const int64_t words = hot_words(size);
  typename Isa::UnitScan scan(lowest, block.units);
  uint32_t any = 0;
  for (int begin = 0; begin < size; begin += 64) {
    uint32_t above[64] = {};
    int y = begin / w, x = begin % w;
    for (int i = 0; i < std::min(size - begin, 64); ++i) {
      above[i] = scan.template compare<kDtype>(block.values + y * block.stride_y + x * block.stride_x);
      any |= above[i];
      if (++x == w) x = 0, ++y;
    }
    transpose_bits<Isa>(above);
    transpose_bits<Isa>(above + 32);
    for (int u = 0; u < block.units; ++u) {
      hot[u * words + begin / 64] = above[u] | static_cast<uint64_t>(above[32 + u]) << 32;
    }
  }
  const uint32_t nonfinite = scan.nonfinite();
  for (int u = 0; u < block.units; ++u) scans[u] = {(any >> u & 1) != 0, (nonfinite >> u & 1) != 0};
}

// Units whose maps are contiguous.
template <class Isa, Dtype kDtype>
void scan_maps(const Block<typename Element<kDtype>::Stored>& block, int h, int w, const float* lowest, uint64_t* hot,
               Scan* scans) {
  const int size = h * w;
  for (int u = 0; u < block.units; ++u) {
    scans[u] = Isa::template scan<kDtype>(block.values + u * block.stride_u, size, Element<kDtype>::cut(lowest[u]),
                                          hot + u * hot_words(size));
  }
}

}  // namespace pydissect
