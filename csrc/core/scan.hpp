// The first stage: which values of a block of units' maps exceed the units' lowest thresholds.
#pragma once

#include "maps.hpp"

namespace pydissect {

// The most entries that a map's hot values take, and one more that may be written to.
inline __attribute__((always_inline)) int64_t hot_capacity(int64_t size) { return size / 32 + 2; }

// Units whose maps are scanned together, at most.
inline __attribute__((always_inline)) int64_t units_together(const Acts& acts) {
  return acts.stride_u == 1 ? std::max<int64_t>(acts.units, kUnitBlock) : kUnitBlock;
}

// What a scan found of a map.
struct Scan {
  int hot_count;
  bool nonfinite;  // is any value?
};

// Which of up to 32 maps have a value that is above the level or non-finite. Without a branch: no processor foresees which
// they are.
inline __attribute__((always_inline)) uint32_t live_maps(const Scan* scans, int units) {
  uint32_t live = 0;
  for (int i = 0; i < units; ++i) live |= static_cast<uint32_t>((scans[i].hot_count != 0) | scans[i].nonfinite) << i;
  return live;
}

// Units whose values lie side by side are compared side by side, and their bits then transposed: 32 pixels of
// all units after one another, so that memory is read in its order. The scans are zero. Returns whether any value may be
// non-finite.
template <class Isa, Dtype kDtype>
bool scan_units(const Block<typename Element<kDtype>::Stored>& block, int h, int w, const float* lowest, Hot* hot,
                Scan* scans) {
  const int size = h * w;
  const int64_t capacity = hot_capacity(size);
  bool may_be_nonfinite = false;
  for (int begin = 0; begin < size; begin += 32) {
    const int pixels = std::min(size - begin, 32);
    for (int u0 = 0; u0 < block.units; u0 += 32) {
      const int units = std::min(block.units - u0, 32);
      int x = begin % w;
      const auto* pixel = block.values + u0 + begin / w * block.stride_y + x * block.stride_x;
      const auto next = [&] {
        const auto* here = pixel;
        const char* ahead = reinterpret_cast<const char*>(here + 32 * block.stride_x);
        for (size_t line = 0; line < 32 * sizeof(*here); line += kLine) __builtin_prefetch(ahead + line);
        pixel += block.stride_x;
        if (++x == w) {
          x = 0;
          pixel += block.stride_y - w * block.stride_x;
        }
        return here;
      };
      uint32_t above[32] = {};
      typename Isa::UnitScan scan(lowest + u0, units);
      scan.template compare<kDtype>(pixels, next, above);
      may_be_nonfinite |= scan.may_be_nonfinite();
      Isa::transpose_bits(above);
      for (int u = 0; u < units; ++u) append_hot(hot + (u0 + u) * capacity, scans[u0 + u].hot_count, begin, above[u]);
    }
  }
  return may_be_nonfinite;
}

// Units whose maps are contiguous. Returns whether any value may be non-finite.
template <class Isa, Dtype kDtype>
bool scan_maps(const Block<typename Element<kDtype>::Stored>& block, int size,
               const typename Element<kDtype>::Cut* cuts, Hot* hot, Scan* scans, const char*& next) {
  typename Isa::template MapScan<kDtype> scan;
  for (int u = 0; u < block.units; ++u) {
    const auto* map = block.values + u * block.stride_u;
    scans[u].hot_count = scan.find(map, size, cuts[u], hot + u * hot_capacity(size), next);
  }
  return scan.may_be_nonfinite();
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
