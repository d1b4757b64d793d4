// Sifting: of a batch's activations, those that can still matter once the thresholds are known.
//
// A unit's bound never exceeds its final threshold. A source cell whose corners are all at or below the threshold is
// dead, so what matters is the values above the bound and the other corners of their cells: their neighbours.
#pragma once

#include "scan.hpp"

namespace pydissect {

// Of an image, which values are wanted: a bit each, every map's from a new word on.
struct Wanted {
  uint64_t* bits;  // [U, map_words], and a word that is written to but stays zero
  int64_t units;
  int h, w;

  __attribute__((always_inline)) int64_t map_words() const { return (static_cast<int64_t>(h) * w + 63) / 64; }
  __attribute__((always_inline)) int64_t words() const { return units * map_words() + 1; }
  __attribute__((always_inline)) uint64_t* map(int64_t u) const { return bits + u * map_words(); }

  __attribute__((always_inline)) void clear() const { std::fill_n(bits, words(), 0); }

  __attribute__((always_inline)) void add_map(int64_t u) const {
    const int64_t size = static_cast<int64_t>(h) * w;
    std::fill_n(map(u), size / 64, ~uint64_t{0});
    if (size % 64) map(u)[size / 64] = (uint64_t{1} << size % 64) - 1;
  }

  // A value of a map and its neighbours.
  __attribute__((always_inline)) void add_around(uint64_t* of_map, int place) const {
    const int y = place / w, x = place - y * w;
    const int left = x - (x > 0), columns = std::min(x + 2, w) - left;
    for (int row = y - (y > 0); row < std::min(y + 2, h); ++row) {
      const int first = row * w + left, shift = first % 64;
      const uint64_t run = (uint64_t{1} << columns) - 1;
      of_map[first / 64] |= run << shift;
      // What is shifted out, if any; never by 64.
      of_map[first / 64 + 1] |= run >> 1 >> (63 - shift);
    }
  }

  __attribute__((always_inline)) bool holds(const uint64_t* of_map, int place) const { return of_map[place / 64] >> (place % 64) & 1; }

  __attribute__((always_inline)) int64_t count() const {
    int64_t count = 0;
    for (int64_t word = 0; word < words(); ++word) count += __builtin_popcountll(bits[word]);
    return count;
  }
};

// Per unit, the levels above which a value is wanted, and above which it can be the map's peak.
struct Bounds {
  const float* wanted;  // [U]
  const float* peak;    // [U]
  const float* lowest;  // [U] the lower of the two
};

// The largest value of each of an image's maps, where it exceeds the unit's peak bound.
struct Peaks {
  float* values;    // [U], -inf where there is none
  int32_t* places;  // [U] in the map; the first of equals
};

struct SiftMemory {
  Hot* hot;        // [units_together, hot_capacity]
  Scan* scans;     // [units_together]
  float* scratch;  // [kUnitBlock, h * w]
};

// Marks what is wanted of a map, and finds its peak.
template <class Isa, Dtype kDtype>
void sift_map(const typename Element<kDtype>::Stored* map, int64_t stride_y, int64_t stride_x, const Hot* hot,
              int hot_count, int64_t u, const Bounds& bounds, const Wanted& wanted, const Peaks& peaks) {
  const float bound = bounds.wanted[u];
  uint64_t* of_map = wanted.map(u);
  // Without a bound, what is not finite matters as well: such a threshold has no value that is as low.
  const bool all = bound == -__builtin_inff();
  if (all) wanted.add_map(u);
  float peak = bounds.peak[u];
  for (int entry = 0; entry < hot_count; ++entry) {
    const int first = static_cast<int>(hot[entry] >> 32);
    for (uint32_t above = static_cast<uint32_t>(hot[entry]); above; above &= above - 1) {
      const int place = first + __builtin_ctz(above), y = place / wanted.w, x = place - y * wanted.w;
      const float value = Element<kDtype>::decode(map[y * stride_y + x * stride_x]);
      if (is_nonfinite(value)) continue;
      if (value > peak) {
        peak = peaks.values[u] = value;
        peaks.places[u] = place;
      }
      if (!all && value > bound) wanted.add_around(of_map, place);
    }
  }
}

// Appends the wanted values of an image, map by map, and their places among the image's values.
template <class Stored>
void gather_wanted(const Acts& acts, int64_t n, const Wanted& wanted, int32_t* places, Stored* values) {
  const Stored* image = static_cast<const Stored*>(acts.data) + n * acts.stride_n;
  const int64_t size = static_cast<int64_t>(wanted.h) * wanted.w;
  for (int64_t u = 0; u < wanted.units; ++u) {
    const Stored* map = image + u * acts.stride_u;
    const uint64_t* of_map = wanted.map(u);
    for (int64_t word = 0; word < wanted.map_words(); ++word) {
      for (uint64_t bits = of_map[word]; bits; bits &= bits - 1) {
        const int place = static_cast<int>(word * 64) + __builtin_ctzll(bits), y = place / wanted.w;
        *places++ = static_cast<int32_t>(u * size + place);
        *values++ = map[y * acts.stride_y + (place - y * wanted.w) * acts.stride_x];
      }
    }
  }
}

// Marks what is wanted of image n, and finds its peaks.
template <class Isa, Dtype kDtype>
void sift_image_as(const Acts& acts, int64_t n, const Bounds& bounds, const SiftMemory& memory, const Wanted& wanted,
                   const Peaks& peaks) {
  using Stored = typename Element<kDtype>::Stored;
  const int h = acts.h, w = acts.w, size = h * w;
  const bool contiguous = (acts.stride_x == 1 || w == 1) && (acts.stride_y == w || h == 1);
  const int64_t block_units = contiguous ? kUnitBlock : units_together(acts);
  wanted.clear();
  for (int64_t u0 = 0; u0 < acts.units; u0 += block_units) {
    const Block<Stored> block = {static_cast<const Stored*>(acts.data) + n * acts.stride_n + u0 * acts.stride_u,
                                 u0,
                                 static_cast<int>(std::min(block_units, acts.units - u0)),
                                 acts.stride_u,
                                 acts.stride_y,
                                 acts.stride_x};
    for (int i = 0; i < block.units; ++i) memory.scans[i] = {0, false};
    const float* lowest = bounds.lowest + u0;
    const char* next = reinterpret_cast<const char*>(block.values + block.units * acts.stride_u);
    if (contiguous) {
      typename Element<kDtype>::Cut cuts[kUnitBlock];
      for (int i = 0; i < block.units; ++i) cuts[i] = Element<kDtype>::cut(lowest[i]);
      scan_maps<Isa, kDtype>(block, size, cuts, memory.hot, memory.scans, next);
    } else if (acts.stride_u == 1) {
      scan_units<Isa, kDtype>(block, h, w, lowest, memory.hot, memory.scans);
    } else {
      for (int i = 0; i < block.units; ++i) {
        copy_map<Isa, kDtype>(block, i, h, w, memory.scratch + static_cast<int64_t>(i) * size);
      }
      const Block<float> copy = {memory.scratch, u0, block.units, size, w, 1};
      scan_maps<Isa, Dtype::f32>(copy, size, lowest, memory.hot, memory.scans, next);
    }
    for (int i = 0; i < block.units; ++i) {
      sift_map<Isa, kDtype>(block.values + i * acts.stride_u, acts.stride_y, acts.stride_x,
                            memory.hot + i * hot_capacity(size), memory.scans[i].hot_count, u0 + i, bounds,
                            wanted, peaks);
    }
  }
}

template <class Isa>
void sift_image(const Acts& acts, int64_t n, const Bounds& bounds, const SiftMemory& memory, const Wanted& wanted,
                   const Peaks& peaks) {
  switch (acts.dtype) {
    case Dtype::f32:
      return sift_image_as<Isa, Dtype::f32>(acts, n, bounds, memory, wanted, peaks);
    case Dtype::f16:
      return sift_image_as<Isa, Dtype::f16>(acts, n, bounds, memory, wanted, peaks);
    case Dtype::bf16:
      return sift_image_as<Isa, Dtype::bf16>(acts, n, bounds, memory, wanted, peaks);
  }
}

// Candidates of an image: places, rising, and values.
template <class Stored>
struct Candidates {
  const int32_t* places;
  const Stored* values;
  int64_t count;
};

// Marks those of the candidates that are wanted of a higher bound. They hold every neighbour of such a value.
template <Dtype kDtype>
void mark_candidates(const Candidates<typename Element<kDtype>::Stored>& candidates, const float* bound,
                     const Wanted& wanted) {
  const int32_t size = wanted.h * wanted.w;
  wanted.clear();
  int64_t u = 0, first = 0;
  for (int64_t i = 0; i < candidates.count; ++i) {
    for (; candidates.places[i] >= first + size; first += size) ++u;
    const float value = Element<kDtype>::decode(candidates.values[i]);
    if (bound[u] == -__builtin_inff()) {
      wanted.add_map(u);
    } else if (value > bound[u] && !is_nonfinite(value)) {
      wanted.add_around(wanted.map(u), static_cast<int>(candidates.places[i] - first));
    }
  }
}

// Keeps those candidates that are marked; returns how many. The outputs may be the inputs.
template <class Stored>
int64_t keep_wanted(const Candidates<Stored>& candidates, const Wanted& wanted, int32_t* places, Stored* values) {
  const int32_t size = wanted.h * wanted.w;
  int64_t u = 0, first = 0, kept = 0;
  for (int64_t i = 0; i < candidates.count; ++i) {
    const int32_t place = candidates.places[i];
    for (; place >= first + size; first += size) ++u;
    if (!wanted.holds(wanted.map(u), static_cast<int>(place - first))) continue;
    places[kept] = place;
    values[kept++] = candidates.values[i];
  }
  return kept;
}

// The lowest finite value: no threshold that is finite lies below it.
template <Dtype kDtype>
constexpr typename Element<kDtype>::Stored lowest_finite() {
  if constexpr (kDtype == Dtype::f32) {
    return -0x1.fffffep125f;
  } else {
    return 0x8000 | (kNonfiniteHalf<kDtype> - 1);
  }
}

// Writes an image's maps out, contiguous, the lowest finite value wherever there is no candidate.
template <Dtype kDtype>
void spread_image(const Candidates<typename Element<kDtype>::Stored>& candidates, int64_t values,
                  typename Element<kDtype>::Stored* image) {
  std::fill_n(image, values, lowest_finite<kDtype>());
  for (int64_t i = 0; i < candidates.count; ++i) image[candidates.places[i]] = candidates.values[i];
}

}  // namespace pydissect
