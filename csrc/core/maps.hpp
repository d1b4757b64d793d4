// Activation maps in memory: their number formats, and how to read the corners of a word's source cells.
#pragma once

#include <algorithm>

#include "job.hpp"
#include "lerp.hpp"

namespace pydissect {

constexpr int kUnitBlock = 32;  // units scanned together

template <Dtype kDtype>
struct Element;

// A cut is a threshold in the form in which stored values are compared with it.
template <>
struct Element<Dtype::f32> {
  using Stored = float;
  using Cut = float;
  static __attribute__((always_inline)) float decode(float value) { return value; }
  static __attribute__((always_inline)) Cut cut(float threshold) { return threshold; }
};

// Halves are ordered as integers once all bits but the sign of the negative ones are inverted: a half of order -m
// then is -m - 1. A threshold that is not negative lies above all of these, so that they need not be.
struct HalfCut {
  int16_t key;
  bool negative;
  static __attribute__((always_inline)) int16_t key_of(uint16_t half) {
    const int16_t value = static_cast<int16_t>(half);
    return static_cast<int16_t>(value < 0 ? value ^ 0x7fff : value);
  }
  static __attribute__((always_inline)) HalfCut of(int16_t order) {
    return {static_cast<int16_t>(order - (order < 0)), order < 0};
  }
};
template <>
struct Element<Dtype::f16> {
  using Stored = uint16_t;
  using Cut = HalfCut;
  static __attribute__((always_inline)) float decode(uint16_t value) { return decode_f16(value); }
  static __attribute__((always_inline)) Cut cut(float threshold) {
    return HalfCut::of(floor_half_order<Dtype::f16>(threshold));
  }
};
template <>
struct Element<Dtype::bf16> {
  using Stored = uint16_t;
  using Cut = HalfCut;
  static __attribute__((always_inline)) float decode(uint16_t value) { return decode_bf16(value); }
  static __attribute__((always_inline)) Cut cut(float threshold) {
    return HalfCut::of(floor_half_order<Dtype::bf16>(threshold));
  }
};

// Values of a map above a threshold: the place of the first of 32 above 32 bits, one for each of them.
using Hot = uint64_t;

// Writes down 32 values' bits, if any is set, without a branch.
inline __attribute__((always_inline)) void append_hot(Hot* hot, int& count, int place, uint32_t above) {
  hot[count] = static_cast<Hot>(place) << 32 | above;
  count += above != 0;
}

// Fetches what is counted later, line by line, while this is worked on: the more evenly, the less waits for memory.
// Into the second cache, since the first one holds what is worked on. Not all lines asked for faster than memory delivers
// them are there when they are read.
struct Prefetch {
  static constexpr int kScanned = 2 * kLine;  // bytes that are scanned while a line is fetched
  static constexpr int kSoon = 64 * kLine;    // bytes from what is scanned to what the first cache needs next

  const char* next;
  int64_t step;   // bytes for each item
  int64_t group;  // bytes before a map's words are counted, and again after
  int64_t items;  // so far

  // Does the processor bring what is read in its order from the second cache to the first, and lose time if told to? Zen 5
  // does; other generations of AMD's were not measured.
  static __attribute__((always_inline)) bool looks_ahead() {
#if defined(__x86_64__)
    return __builtin_cpu_is("amd");
#else
    return false;
#endif
  }

  // Fetches so many bytes, and moves on.
  static __attribute__((always_inline)) void fetch(const char*& next, int64_t step) {
    __builtin_prefetch(next, 0, 2);
    for (int64_t byte = kLine; byte < step; byte += kLine) __builtin_prefetch(next + byte, 0, 2);
    next += step;
  }

  // The same for a group of lines, at a time when nothing else waits for memory.
  __attribute__((always_inline)) void fetch_group() {
    for (int64_t byte = 0; byte < group; byte += kLine) __builtin_prefetch(next + byte, 0, 2);
    next += group;
  }

  // The same for kScanned bytes that are scanned; and brings those that come next into the first cache, unless the
  // processor does so by itself.
  static __attribute__((always_inline)) void scan(const char*& next, const void* scanned) {
    fetch(next, kLine);
    if (looks_ahead()) return;
    const char* soon = static_cast<const char*>(scanned) + kSoon;
    for (int byte = 0; byte < kScanned; byte += kLine) __builtin_prefetch(soon + byte);
  }
};

// A value's row and column, and its place in a contiguous map.
struct Spot {
  int64_t y, x, place;
};

// Eight source columns, interpolated between two source rows. A word's pixels pick theirs.
template <class Isa>
struct Columns {
  using Lanes = typename Isa::Lanes;
  Lerp<Lanes> columns;
  const Word& word;

  // Between each pixel's two columns on a pixel row.
  __attribute__((always_inline)) Lerp<Lanes> at(Lanes ty) const {
    const Lanes row = columns.at(ty);
    return {Isa::pick(row, word.left), Isa::pick(row, word.right)};
  }
};

// The corners of the source cells of a word's pixels, one pixel a lane; top and bottom ones interpolated.
template <class Isa>
struct Corners {
  using Lanes = typename Isa::Lanes;
  Lerp<Lanes> left, right;

  __attribute__((always_inline)) Lerp<Lanes> at(Lanes ty) const { return {left.at(ty), right.at(ty)}; }
};

// A contiguous map whose words read no more than eight columns, with eight readable values from each of its own on.
template <class Isa, Dtype kDtype>
struct RowMap {
  const typename Element<kDtype>::Stored* values;

  __attribute__((always_inline)) float at(const Spot& spot) const {
    return Isa::template decode<kDtype>(values[spot.place]);
  }

  __attribute__((always_inline)) Columns<Isa> cells(const Geometry&, const RowPair& pair, const Word& word) const {
    return {{Isa::template window<kDtype>(values + pair.top + word.first),
             Isa::template window<kDtype>(values + pair.bottom + word.first)},
            word};
  }
};

// Any map: strides of any sign, words that read any number of columns.
template <class Isa, Dtype kDtype>
struct StridedMap {
  const typename Element<kDtype>::Stored* values;
  int64_t stride_y, stride_x;

  __attribute__((always_inline)) float at(const Spot& spot) const {
    return Isa::template decode<kDtype>(values[spot.y * stride_y + spot.x * stride_x]);
  }

  Corners<Isa> cells(const Geometry& geometry, const RowPair& pair, const Word& word) const {
    const auto* top = values + pair.row * stride_y + word.first * stride_x;
    const auto* bottom = values + std::min<int64_t>(pair.row + 1, geometry.h - 1) * stride_y + word.first * stride_x;
    float lanes[4][kWord];
    for (int i = 0; i < kWord; ++i) {
      const int64_t left = word.left[i] * stride_x, right = word.right[i] * stride_x;
      lanes[0][i] = Element<kDtype>::decode(top[left]);
      lanes[1][i] = Element<kDtype>::decode(bottom[left]);
      lanes[2][i] = Element<kDtype>::decode(top[right]);
      lanes[3][i] = Element<kDtype>::decode(bottom[right]);
    }
    return {{Isa::load_word(lanes[0]), Isa::load_word(lanes[1])}, {Isa::load_word(lanes[2]), Isa::load_word(lanes[3])}};
  }
};

// Units of one image whose maps are counted together; strides in elements.
template <class Stored>
struct Block {
  const Stored* values;
  int64_t first_unit;
  int units;
  int64_t stride_u, stride_y, stride_x;
};

// Copies a map of any strides as fp32.
template <class Isa, Dtype kDtype>
void copy_map(const Block<typename Element<kDtype>::Stored>& block, int u, int h, int w, float* out) {
  for (int y = 0; y < h; ++y) {
    const auto* row = block.values + u * block.stride_u + y * block.stride_y;
    for (int x = 0; x < w; ++x) *out++ = Element<kDtype>::decode(row[x * block.stride_x]);
  }
}

}  // namespace pydissect
