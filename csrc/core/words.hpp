// The second and third stages, for one map: which words may have a pixel above a threshold, and which pixels those are.
#pragma once

#include "lerp.hpp"
#include "maps.hpp"

namespace pydissect {

// A word of the pixel rows between two source rows: the upper one's number above, the word's below 32 bits.
using Item = uint64_t;

// A word that has pixels: kMaskBlock times its place in a bitmap above, its pixels in the lowest byte. In the
// last word of a row these may be more than it has; no mask has any there.
using Found = uint64_t;

constexpr int kAppendSlack = 8;  // entries beyond a list's end that appending to it may write

// Lists the words between two source rows of which a value that the word reads is hot, and no
// others: these cannot have a pixel. Returns how many. `marks` [h, word_masks] and `live_rows`
// [h / 64 + 1] are zero, and left so.
template <class Isa, bool kSmall>
int64_t list_items(const Hot* hot, int hot_count, const Geometry& geometry, uint64_t* marks, uint64_t* live_rows,
                   Item* items) {
  const int masks = kSmall ? 1 : geometry.word_masks;
  uint64_t live = 0;  // if kSmall, live_rows[0]
  const auto set_live = [&](int64_t y) {
    if constexpr (kSmall) {
      live |= uint64_t{1} << y;
    } else {
      live_rows[y / 64] |= uint64_t{1} << y % 64;
    }
  };
  for (int i = 0; i < hot_count; ++i) {
    for (uint32_t bits = static_cast<uint32_t>(hot[i]); bits; bits &= bits - 1) {
      const uint64_t place = (hot[i] >> 32) + __builtin_ctz(bits);
      const int64_t y = static_cast<int64_t>((static_cast<unsigned __int128>(place) * geometry.w_reciprocal) >> 63);
      const int64_t x = static_cast<int64_t>(place) - y * geometry.w, above = y - (y > 0);
      for (int j = 0; j < masks; ++j) {
        const uint64_t readers = geometry.readers[x * masks + j];
        marks[y * masks + j] |= readers;
        marks[above * masks + j] |= readers;
      }
      set_live(y);
      set_live(above);
    }
  }
  int64_t count = 0;
  for (int chunk = 0; chunk < geometry.h; chunk += 64) {
    if constexpr (!kSmall) {
      live = live_rows[chunk / 64];
      live_rows[chunk / 64] = 0;
    }
    for (; live; live &= live - 1) {
      const int64_t y = chunk + __builtin_ctzll(live);
      const bool has_pixels = geometry.rows[y].pixel_rows > 0;
      for (int word = 0; word < geometry.words; word += 8) {
        const uint64_t mask = marks[y * masks + word / 64];
        const uint32_t touched = has_pixels ? mask >> word % 64 & 0xff : 0;
        Isa::append_items(items + count, static_cast<Item>(y) << 32 | word, touched);
        count += __builtin_popcount(touched);
      }
      for (int j = 0; j < masks; ++j) marks[y * masks + j] = 0;
    }
  }
  return count;
}

template <class Isa>
int64_t find_items(const Hot* hot, int hot_count, const Geometry& geometry, uint64_t* marks, uint64_t* live_rows,
                   Item* items) {
  const bool small = geometry.h <= 64 && geometry.word_masks == 1;
  return (small ? list_items<Isa, true> : list_items<Isa, false>)(hot, hot_count, geometry, marks, live_rows, items);
}

// Fetches the next block's maps into the cache, a few lines an item, while this one's are worked on.
struct Prefetch {
  const char* next;
  int64_t step;   // bytes an item
  int64_t items;  // so far
};
constexpr int64_t kLine = 64;  // bytes of a cache line
constexpr int kLines = 4;      // lines fetched for an item, at least those of a step

// Lists the words of kRows pixel rows, a byte each, that are not empty; without a branch.
template <class Isa>
inline __attribute__((always_inline)) void append_found(Found* found, int64_t& count, Found first, int64_t row_step,
                                                        uint32_t bits) {
  for (int row = 0; row < Isa::kRows; ++row) {
    const uint32_t byte = Isa::kRows == 1 ? bits : bits >> (8 * row) & 0xff;
    found[count] = (first + row * row_step) | byte;
    count += byte != 0;
  }
}

// Interpolates the pixels of the items and lists, for each level, the words that have some above it. One level
// has a copy of its own, for there the list's length stays in a register.
template <class Isa, bool kOneLevel, class Map>
void find_words(const Map& map, const Geometry& geometry, const Item* items, int64_t item_count,
                const float* thresholds, int64_t threshold_stride, int levels, int64_t places, Found* found,
                int64_t* found_counts, Prefetch& prefetch) {
  using Lanes = typename Isa::Lanes;
  const char* next = prefetch.next;
  const int64_t step = prefetch.step;
  const int64_t row_step = static_cast<int64_t>(geometry.row_bytes) * kMaskBlock << 8;
  const float threshold = thresholds[0];
  int64_t first_count = 0;
  if constexpr (!kOneLevel) std::fill_n(found_counts, levels, 0);
  for (int64_t i = 0; i < item_count; ++i) {
    const int y = static_cast<int>(items[i] >> 32), number = static_cast<int>(items[i] & 0xffffffffu);
    const Word& word = geometry.columns[number];
    for (int line = 0; line < kLines; ++line) __builtin_prefetch(next + line * kLine, 0, 3);
    next += step;
    const SourceRow& source = geometry.rows[y];
    const Corners<Isa> corners = map.corners(geometry, source, y, word);
    const Lerp<Lanes> left(corners.top_left, corners.bottom_left), right(corners.top_right, corners.bottom_right);
    const Lanes tx = Isa::load_word(word.fraction);
    Found place = static_cast<Found>(source.word + number) * kMaskBlock << 8;
    const float* fractions = source.fractions;
    // The words of the kRows pixel rows `ahead` of the present one.
    const auto find_in = [&](int ahead) __attribute__((always_inline)) {
      const Lanes ty = Isa::load_rows(fractions + ahead);
      const Lanes value = Lerp<Lanes>(left.at(ty), right.at(ty)).at(tx);
      const Found first = place + ahead * row_step;
      if constexpr (kOneLevel) {
        append_found<Isa>(found, first_count, first, row_step, Isa::greater(value, threshold));
      } else {
        for (int level = 0; level < levels; ++level) {
          append_found<Isa>(found + level * (places + kAppendSlack), found_counts[level], first, row_step,
                            Isa::greater(value, thresholds[level * threshold_stride]));
        }
      }
    };
    int rows = source.pixel_rows;
    for (; rows > 0; rows -= Isa::kRows, fractions += Isa::kRows, place += Isa::kRows * row_step) find_in(0);
  }
  if constexpr (kOneLevel) found_counts[0] = first_count;
  prefetch.next = next;
  prefetch.items += item_count;
}

}  // namespace pydissect
