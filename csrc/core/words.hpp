// The second and third stages, for one map: which words may have a pixel above a threshold, and which pixels those are.
#pragma once

#include <utility>

#include "maps.hpp"

namespace pydissect {

// A word of a pair of pixel rows: the pair above so many bits, the word below. Few are told by where they lie in their
// tables, in bytes, so that nothing has to be multiplied by a size; many by their numbers.
using Item = uint32_t;

// A word and the one below it: the upper one's place in a bitmap above 32 bits, its pixels in the lowest byte, the lower
// one's in the next. In the last word of a row these may be more than it has; no mask has any there. Of those that are
// interpolated, the ones that have pixels are kept.
using Found = uint64_t;

constexpr int kAppended = 16;            // words of which an instruction set lists those that are touched at once
constexpr int kAppendSlack = kAppended;  // entries beyond the list's end that it may write
constexpr int kFewPairs = 64;            // pairs of pixel rows, and
constexpr int kFewWords = 16;            // words a row, of which Isa::Marks holds a bit for each
constexpr int kFewWordBits = 16;         // bits of an item that then stand for the word
constexpr int kFewStep = 8;              // logarithm of a word's size
static_assert(kFewWords <= kAppended && 64 % kAppended == 0 && sizeof(Word) == 1 << kFewStep);
static_assert(kFewPairs * sizeof(RowPair) <= 1 << (32 - kFewWordBits) && kFewWords * sizeof(Word) <= 1 << kFewWordBits);

// One thread's marks of words of pairs, for geometries of any size. Zero between two maps.
struct ManyMarks {
  uint64_t* words;       // [pair_count, word_masks]
  uint64_t* live_pairs;  // [pair_count / 64 + 1]
};

// Calls visit(spot) for every hot value, in one loop over the bits of all entries, for how many each has is nothing
// that a processor could foresee. After the last one it reads an entry more, which there is room for.
template <class Visit>
__attribute__((always_inline)) inline void visit_hot(const Hot* hot, int hot_count, const Geometry& geometry,
                                                     Visit visit) {
  int values = 0;
  for (int i = 0; i < hot_count; ++i) values += __builtin_popcount(static_cast<uint32_t>(hot[i]));
  uint64_t first = hot[0] >> 32;
  uint32_t bits = static_cast<uint32_t>(hot[0]);
  for (; values; --values) {
    const uint64_t place = first + __builtin_ctz(bits);
    bits &= bits - 1;
    const bool done = bits == 0;
    hot += done;
    first = *hot >> 32;
    bits = done ? static_cast<uint32_t>(*hot) : bits;
    const int64_t y = static_cast<int64_t>(static_cast<unsigned __int128>(2 * place) * geometry.w_reciprocal >> 64);
    visit(Spot{y, static_cast<int64_t>(place) - y * geometry.w, static_cast<int64_t>(place)});
  }
}

// Calls visit(spot) for every hot value and the eight around it; at a border, for some of them twice.
template <class Visit>
__attribute__((always_inline)) inline void visit_around(const Hot* hot, int hot_count, const Geometry& geometry,
                                                        Visit visit) {
  visit_hot(hot, hot_count, geometry, [&](const Spot& spot) __attribute__((always_inline)) {
    const int64_t rows[] = {std::max<int64_t>(spot.y - 1, 0), spot.y, std::min<int64_t>(spot.y + 1, geometry.h - 1)};
    const int64_t columns[] = {std::max<int64_t>(spot.x - 1, 0), spot.x, std::min<int64_t>(spot.x + 1, geometry.w - 1)};
    for (const int64_t y : rows) {
      for (const int64_t x : columns) visit(Spot{y, x, y * geometry.w + x});
    }
  });
}

// Which pairs of pixel rows that read a hot value reach above a threshold at its source column: interpolation along a
// pixel row never exceeds the larger end. A bit for each of the readers.
template <class Isa, class Map>
__attribute__((always_inline)) inline uint32_t pairs_above(const Map& map, const RowReaders& readers,
                                                           const Spot& hot, float threshold) {
  const auto at = [&](int64_t step) __attribute__((always_inline)) {
    return map.at({hot.y + (step > 0) - (step < 0), hot.x, hot.place + step});
  };
  return Isa::pairs_above(readers, at(-readers.up), at(0), at(readers.down), threshold);
}

// Lists the words of pairs of pixel rows that read a source column where one of the two reaches above the threshold,
// and no others: these cannot have a pixel. Returns how many. Of a geometry that Isa::Marks holds.
template <class Isa, class Map>
int64_t list_few_items(const Map& map, const Hot* hot, int hot_count, const Geometry& geometry, float threshold,
                       Item* items, Prefetch& prefetch) {
  const char* next = prefetch.next;
  typename Isa::Marks marks;
  visit_hot(hot, hot_count, geometry, [&](const Spot& spot) __attribute__((always_inline)) {
    Prefetch::fetch(next, kLine);
    const RowReaders* readers = geometry.row_readers + spot.y * geometry.reader_groups;
    uint64_t pairs = 0;
    for (int i = 0; i < geometry.reader_groups; ++i) {
      pairs |= static_cast<uint64_t>(pairs_above<Isa>(map, readers[i], spot, threshold)) << readers[i].first;
    }
    marks.add(pairs, static_cast<uint16_t>(geometry.column_readers[spot.x]));
  });
  prefetch.next = next;
  uint16_t words[kFewPairs];
  int64_t count = 0;
  for (uint64_t live = marks.store(words); live; live &= live - 1) {
    const int pair = __builtin_ctzll(live);
    Isa::template append_items<kFewStep>(items + count, static_cast<Item>(pair * sizeof(RowPair)) << kFewWordBits,
                                         words[pair]);
    count += __builtin_popcount(words[pair]);
  }
  return count;
}

// The same for a geometry of any size.
template <class Isa, class Map>
int64_t list_many_items(const Map& map, const Hot* hot, int hot_count, const Geometry& geometry, float threshold,
                        const ManyMarks& marks, Item* items, Prefetch& prefetch) {
  const char* next = prefetch.next;
  const int masks = geometry.word_masks;
  visit_hot(hot, hot_count, geometry, [&](const Spot& spot) {
    Prefetch::fetch(next, kLine);
    for (int i = 0; i < geometry.reader_groups; ++i) {
      const RowReaders& readers = geometry.row_readers[spot.y * geometry.reader_groups + i];
      for (uint32_t pairs = pairs_above<Isa>(map, readers, spot, threshold); pairs; pairs &= pairs - 1) {
        const int64_t pair = readers.first + __builtin_ctz(pairs);
        marks.live_pairs[pair / 64] |= uint64_t{1} << pair % 64;
        for (int j = 0; j < masks; ++j) marks.words[pair * masks + j] |= geometry.column_readers[spot.x * masks + j];
      }
    }
  });
  prefetch.next = next;
  int64_t count = 0;
  for (int64_t chunk = 0; chunk * 64 < geometry.pair_count; ++chunk) {
    for (uint64_t live = std::exchange(marks.live_pairs[chunk], 0); live; live &= live - 1) {
      const int64_t pair = chunk * 64 + __builtin_ctzll(live);
      for (int word = 0; word < geometry.words; word += kAppended) {
        uint64_t& mask = marks.words[pair * masks + word / 64];
        const uint32_t touched = mask >> word % 64 & ((1u << kAppended) - 1);
        Isa::template append_items<0>(items + count, static_cast<Item>(pair << geometry.word_bits | word), touched);
        count += __builtin_popcount(touched);
      }
      for (int j = 0; j < masks; ++j) marks.words[pair * masks + j] = 0;
    }
  }
  return count;
}

// What an item stands for.
struct PairWord {
  const RowPair& pair;
  const Word& word;
};

template <bool kFew>
__attribute__((always_inline)) inline PairWord read_item(const Geometry& geometry, Item item) {
  const int word_bits = kFew ? kFewWordBits : geometry.word_bits;
  const Item pair = item >> word_bits, word = item & ((Item{1} << word_bits) - 1);
  if constexpr (!kFew) return {geometry.pairs[pair], geometry.columns[word]};
  const char* const pairs = reinterpret_cast<const char*>(geometry.pairs);
  const char* const words = reinterpret_cast<const char*>(geometry.columns);
  return {*reinterpret_cast<const RowPair*>(pairs + pair), *reinterpret_cast<const Word*>(words + word)};
}

// Keeps those of the entries that have pixels. Returns how many. May write up to kAppendSlack entries beyond the last.
template <class Isa>
int64_t keep_found(Found* found, int64_t count) {
  static_assert(Isa::kKeptAtOnce <= kAppendSlack);
  int64_t kept = 0;
  if constexpr (Isa::kKeptAtOnce > 0) {
    for (int64_t i = 0; i < count; i += Isa::kKeptAtOnce) kept += Isa::keep(found + i, count - i, found + kept);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const Found entry = found[i];
      found[kept] = entry;
      kept += static_cast<uint32_t>(entry) != 0;
    }
  }
  return kept;
}

// Interpolates the pixels of the items and lists, for each level, the words that have some above it. All are written
// down, and only then those kept that have some: otherwise stores would wait for pixels to know where they go, and what
// the next items load would wait for these. One level has a copy of its own, with the threshold in a register.
template <class Isa, bool kFew, bool kOneLevel, class Map>
void find_words(const Map& map, const Geometry& geometry, const Item* items, int64_t item_count,
                const float* thresholds, int64_t threshold_stride, int levels, int64_t capacity, Found* found,
                int64_t* found_counts, Prefetch& prefetch) {
  using Lanes = typename Isa::Lanes;
  constexpr int kRegisters = kRowPair / Isa::kRows;
  const char* next = prefetch.next;
  const int64_t step = prefetch.step;
  const float threshold = thresholds[0];
  for (int64_t item = 0; item < item_count; ++item) {
    Prefetch::fetch(next, step);
    const PairWord read = read_item<kFew>(geometry, items[item]);
    const uint64_t place = read.pair.place + read.word.place;
    const auto cells = map.cells(geometry, read.pair, read.word);
    const Lanes tx = Isa::load_lanes(read.word.fraction);
    Lanes values[kRegisters];
    for (int j = 0; j < kRegisters; ++j) {
      values[j] = cells.at(Isa::load_lanes(read.pair.fractions + j * Isa::kRows * kWord)).at(tx);
    }
    if constexpr (kOneLevel) {
      found[item] = place | Isa::above(values, threshold);
    } else {
      for (int level = 0; level < levels; ++level) {
        found[level * capacity + item] = place | Isa::above(values, thresholds[level * threshold_stride]);
      }
    }
  }
  prefetch.next = next;
  prefetch.items += item_count;
  for (int level = 0; level < levels; ++level) {
    found_counts[level] = keep_found<Isa>(found + level * capacity, item_count);
  }
}

}  // namespace pydissect
