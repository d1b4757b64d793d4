// The second and third stages, for one map: which words may have a pixel above a threshold, and which pixels those are.
#pragma once

#include <type_traits>

#include "maps.hpp"

namespace pydissect {

// A word of the pixel rows between two source rows: the upper one's number above, the word's below 32 bits.
using Item = uint64_t;

// A word and the one below it, if one of them has pixels: the upper one's place in a bitmap above 32 bits, its pixels
// in the lowest byte, the lower one's in the next. In the last word of a row these may be more than it has; no mask
// has any there.
using Found = uint64_t;

constexpr int kAppendSlack = 8;  // entries beyond a list's end that appending to it may write

// Lists the words between two source rows of which a value that the word reads is hot, and no
// others: these cannot have a pixel. Returns how many. `marks` [h, word_masks] and `live_rows`
// [h / 64 + 1] are zero, and left so.
template <class Isa, bool kSmall>
int64_t list_items(const Hot* hot, int hot_count, const Geometry& geometry, uint64_t* marks, uint64_t* live_rows,
                   Item* items, Prefetch& prefetch) {
  const char* next = prefetch.next;
  const int masks = kSmall ? 1 : geometry.word_masks;
  uint64_t live = 0;  // if kSmall, live_rows[0]
  const auto set_live = [&](int64_t y) {
    if constexpr (kSmall) {
      live |= uint64_t{1} << y;
    } else {
      live_rows[y / 64] |= uint64_t{1} << y % 64;
    }
  };
  // One loop over the bits of all entries, for how many each has is nothing that a processor could foresee. After the
  // last one it reads an entry more, which there is room for.
  int values = 0;
  for (int i = 0; i < hot_count; ++i) values += __builtin_popcount(static_cast<uint32_t>(hot[i]));
  uint64_t first = hot[0] >> 32;
  uint32_t bits = static_cast<uint32_t>(hot[0]);
  for (; values; --values) {
    Prefetch::fetch(next, 1);
    const uint64_t place = first + __builtin_ctz(bits);
    bits &= bits - 1;
    const bool done = bits == 0;
    hot += done;
    first = *hot >> 32;
    bits = done ? static_cast<uint32_t>(*hot) : bits;
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
  prefetch.next = next;
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
                   Item* items, Prefetch& prefetch) {
  const bool small = geometry.h <= 64 && geometry.word_masks == 1;
  const auto list = small ? list_items<Isa, true> : list_items<Isa, false>;
  return list(hot, hot_count, geometry, marks, live_rows, items, prefetch);
}

// Interpolates the pixels of the items and lists, for each level, the words that have some above it. One level
// has a copy of its own, for there the list's length stays in a register.
template <class Isa, bool kOneLevel, class Map>
void find_words(const Map& map, const Geometry& geometry, const Item* items, int64_t item_count,
                const float* thresholds, int64_t threshold_stride, int levels, int64_t places, Found* found,
                int64_t* found_counts, Prefetch& prefetch) {
  using Lanes = typename Isa::Lanes;
  const char* next = prefetch.next;
  const int64_t lines = prefetch.lines;
  const Found row_step = static_cast<Found>(geometry.row_bytes) << 32;
  const float threshold = thresholds[0];
  int64_t first_count = 0;
  if constexpr (!kOneLevel) std::fill_n(found_counts, levels, 0);
  for (int64_t i = 0; i < item_count; ++i) {
    const int y = static_cast<int>(items[i] >> 32), number = static_cast<int>(items[i] & 0xffffffffu);
    const Word& word = geometry.columns[number];
    Prefetch::fetch(next, lines);
    const SourceRow& source = geometry.rows[y];
    const Sides<Isa> sides = map.sides(geometry, source, y, word);
    const Lanes tx = Isa::load_word(word.fraction);
    Found place = static_cast<Found>(source.word + number) << 32;
    const float* fractions = source.fractions;
    // Lists the words of as many registers' pixel rows, if one has pixels; without a branch.
    const auto find_in = [&](auto registers) __attribute__((always_inline)) {
      constexpr int kCount = decltype(registers)::value;
      Lanes values[kCount];
      for (int j = 0; j < kCount; ++j) values[j] = sides.at(Isa::load_rows(fractions + j * Isa::kRows)).at(tx);
      const auto append = [&](Found* list, int64_t& count, float level) __attribute__((always_inline)) {
        const uint32_t above = Isa::template above<kCount>(values, level);
        list[count] = place | above;
        count += above != 0;
      };
      if constexpr (kOneLevel) {
        append(found, first_count, threshold);
      } else {
        for (int level = 0; level < levels; ++level) {
          append(found + level * (places + kAppendSlack), found_counts[level], thresholds[level * threshold_stride]);
        }
      }
    };
    int rows = source.pixel_rows;
    for (; rows >= kRowPair; rows -= kRowPair, fractions += kRowPair, place += kRowPair * row_step) {
      find_in(std::integral_constant<int, kRowPair / Isa::kRows>());
    }
    if (rows > 0) find_in(std::integral_constant<int, 1>());
  }
  if constexpr (kOneLevel) found_counts[0] = first_count;
  prefetch.next = next;
  prefetch.items += item_count;
}

}  // namespace pydissect
