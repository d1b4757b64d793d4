// Counting unit masks against concept masks, in one pass over the activations.
//
// For every map: scan it against the lowest level; leave dead maps at once; find the live
// words (16 pixels of the rows between two source rows, some corner of whose cells exceeds
// the level); interpolate only those; keep the words that have a bit; AND and popcount these
// against all masks of the image side by side.
//
// Isa is an instruction set's description (csrc/cpu/isa_*.hpp). Functions here are templates
// over it, all of them, so that the linker can never put one set's code in the place of another's.
#pragma once

#include <algorithm>
#include <type_traits>

#include "lerp.hpp"
#include "maps.hpp"

namespace pydissect {

constexpr int kWord = 16;        // pixels a word
constexpr int kMaskBlock = 32;   // masks counted side by side
constexpr int kMaxWords = 4095;  // words after which a 16-bit lane could overflow: 4095 * 16 < 2^16

// One thread's memory, all from one allocation.
struct Workspace {
  float* scratch;        // [kUnitBlock, h * w] maps read from other formats
  float* finite;         // [h * w]
  uint64_t* hot;         // [h * w / 64 + 2] values above the lowest level, one bit each
  uint16_t* table;       // [blocks, H * words, kMaskBlock] the image's masks, words side by side
  int32_t* word_places;  // [L, H * words] live words: where
  uint16_t* word_bits;   // [L, H * words]            and which pixels
  int32_t* word_counts;  // [L]
  uint32_t* totals;      // [blocks * kMaskBlock]
};

// Four words of four masks, transposed: rows[i] has word i of masks a, b, c, d.
template <class Isa>
void transpose_words(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t rows[4]) {
  constexpr uint64_t kEven = 0x0000ffff0000ffffu, kLow = 0xffffffffu;
  const uint64_t ab_even = (a & kEven) | (b & kEven) << 16, ab_odd = (a >> 16 & kEven) | (b & ~kEven);
  const uint64_t cd_even = (c & kEven) | (d & kEven) << 16, cd_odd = (c >> 16 & kEven) | (d & ~kEven);
  rows[0] = (ab_even & kLow) | cd_even << 32;
  rows[1] = (ab_odd & kLow) | cd_odd << 32;
  rows[2] = ab_even >> 32 | (cd_even & ~kLow);
  rows[3] = ab_odd >> 32 | (cd_odd & ~kLow);
}

// The image's masks with the words of one place side by side, and after them a mask that is
// full, whose count is the unit's area. Returns the number of blocks.
template <class Isa>
int lay_out_masks(const Masks& masks, const Geometry& geometry, int64_t n, uint16_t* table) {
  const int64_t places = static_cast<int64_t>(geometry.H) * geometry.words;
  const int64_t begin = masks.bitmap_ranges[2 * n];
  const int count = static_cast<int>(masks.bitmap_ranges[2 * n + 1] - begin);
  const uint16_t* bitmaps = masks.bitmaps + begin * places;
  const int blocks = count / kMaskBlock + 1;
  for (int mask = 0; mask < blocks * kMaskBlock; mask += 4) {
    uint16_t* column = table + mask / kMaskBlock * places * kMaskBlock + mask % kMaskBlock;
    // The words of four places, or of the last ones, of mask + i.
    const auto read = [&](int i, int64_t place, auto words) {
      uint64_t bits = mask + i == count ? ~uint64_t{0} : 0;
      if (mask + i < count) std::memcpy(&bits, bitmaps + (mask + i) * places + place, words * sizeof(uint16_t));
      return bits;
    };
    const auto lay_out = [&](int64_t place, auto words) {
      uint64_t rows[4];
      transpose_words<Isa>(read(0, place, words), read(1, place, words), read(2, place, words),
                           read(3, place, words), rows);
      for (int i = 0; i < words; ++i) std::memcpy(column + (place + i) * kMaskBlock, &rows[i], sizeof rows[i]);
    };
    int64_t place = 0;
    for (; place + 4 <= places; place += 4) lay_out(place, std::integral_constant<int, 4>());
    if (place < places) lay_out(place, static_cast<int>(places - place));
  }
  return blocks;
}

// Are any of the bits begin .. end (exclusive) set?
template <class Isa>
bool any_bit(const uint64_t* bits, int64_t begin, int64_t end) {
  for (int64_t place = begin; place < end; place += 64) {
    const int shift = place & 63;
    uint64_t chunk = bits[place >> 6] >> shift;
    if (shift) chunk |= bits[(place >> 6) + 1] << (64 - shift);
    const int64_t left = end - place;
    if (left < 64) chunk &= (uint64_t{1} << left) - 1;
    if (chunk) return true;
  }
  return false;
}

// The bits begin .. begin + count (at most 64) of a row of bits.
template <class Isa>
uint64_t bits_at(const uint64_t* bits, int64_t begin, int count) {
  const int shift = begin & 63;
  uint64_t chunk = bits[begin >> 6] >> shift;
  if (shift) chunk |= bits[(begin >> 6) + 1] << (64 - shift);
  return count < 64 ? chunk & ((uint64_t{1} << count) - 1) : chunk;
}

// Interpolates the pixels of one word, between the source rows `top` and `bottom`, for every pixel
// row there, and appends what has a pixel above a level.
template <class Isa>
void find_pixels(const float* top, const float* bottom, int word, int row_begin, int row_end,
                 const Geometry& geometry, const float* thresholds, int64_t threshold_stride, int levels,
                 const Workspace& workspace) {
  using Lanes = typename Isa::Lanes;
  const int64_t places = static_cast<int64_t>(geometry.H) * geometry.words;
  const int first = geometry.first[word], span = geometry.last[word] - first + 1;
  const int32_t* left = geometry.left + word * kWord;
  const int32_t* right = geometry.right + word * kWord;
  Lanes top_left, top_right, bottom_left, bottom_right;
  Isa::gather(top + first, span, left, right, top_left, top_right);
  Isa::gather(bottom + first, span, left, right, bottom_left, bottom_right);
  const Lanes tx = Isa::load(geometry.fraction + word * kWord);
  for (int row = row_begin; row < row_end; ++row) {
    const Lanes ty = Isa::broadcast(geometry.row_fraction[row]);
    const Lanes value = lerp(lerp(top_left, bottom_left, ty), lerp(top_right, bottom_right, ty), tx);
    for (int level = 0; level < levels; ++level) {
      const uint16_t bits = Isa::greater(value, thresholds[level * threshold_stride]) & geometry.lanes[word];
      int32_t& count = workspace.word_counts[level];
      workspace.word_places[level * places + count] = row * geometry.words + word;
      workspace.word_bits[level * places + count] = bits;
      count += bits != 0;
    }
  }
}

// Finds the words of a map that have a pixel above each level: those between two source rows of
// which a value that the word reads exceeds the lowest level, and no others, can have one.
template <class Isa>
void find_words(const float* map, int h, int w, const Geometry& geometry, const float* thresholds,
                int64_t threshold_stride, int levels, const Workspace& workspace) {
  const uint64_t* hot = workspace.hot;
  const bool narrow = w <= 64;
  for (int level = 0; level < levels; ++level) workspace.word_counts[level] = 0;
  uint64_t above = narrow ? bits_at<Isa>(hot, 0, w) : any_bit<Isa>(hot, 0, w);
  for (int y = 0; y < h; ++y) {
    const int below_row = std::min(y + 1, h - 1);
    const int64_t top = static_cast<int64_t>(y) * w, bottom = static_cast<int64_t>(below_row) * w;
    const uint64_t below = narrow ? bits_at<Isa>(hot, bottom, w) : any_bit<Isa>(hot, bottom, bottom + w);
    const uint64_t either = above | below;
    above = below;
    const int row_begin = geometry.row_first[y], row_end = geometry.row_first[y + 1];
    if (!either || row_begin == row_end) continue;
    for (int word = 0; word < geometry.words; ++word) {
      const int first = geometry.first[word], end = geometry.last[word] + 1;
      const bool live = narrow ? (either & geometry.columns[word]) != 0
                               : any_bit<Isa>(hot, top + first, top + end) ||
                                     any_bit<Isa>(hot, bottom + first, bottom + end);
      if (!live) continue;
      find_pixels<Isa>(map + top, map + bottom, word, row_begin, row_end, geometry, thresholds, threshold_stride,
                       levels, workspace);
    }
  }
}

// totals[m] = pixels that the words share with mask m.
template <class Isa>
void count_words(const uint16_t* table, int blocks, int64_t places, const int32_t* word_places,
                 const uint16_t* word_bits, int words, uint32_t* totals) {
  for (int i = 0; i < blocks * kMaskBlock; ++i) totals[i] = 0;
  for (int begin = 0; begin < words; begin += kMaxWords) {
    const int count = std::min(words - begin, kMaxWords);
    for (int block = 0; block < blocks; ++block) {
      Isa::add_popcounts(table + block * places * kMaskBlock, word_places + begin, word_bits + begin, count,
                         totals + block * kMaskBlock);
    }
  }
}

template <class Isa>
void count_part(const Acts& acts, const Masks& masks, const Geometry& geometry, const float* thresholds,
                int levels, bool nonfinite_off, const Part& part, const Workspace& workspace,
                Counters& counters) {
  const int size = acts.h * acts.w;
  const int64_t places = static_cast<int64_t>(geometry.H) * geometry.words;
  const float* maps[kUnitBlock];
  for (int64_t n = part.image_begin; n < part.image_end; ++n) {
    const int64_t bitmap_begin = masks.bitmap_ranges[2 * n];
    const int bitmaps = static_cast<int>(masks.bitmap_ranges[2 * n + 1] - bitmap_begin);
    const int blocks = lay_out_masks<Isa>(masks, geometry, n, workspace.table);
    for (int64_t u0 = part.unit_begin; u0 < part.unit_end; u0 += kUnitBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kUnitBlock, part.unit_end - u0));
      read_maps<Isa>(acts, n, u0, count, workspace.scratch, maps);
      for (int i = 0; i < count; ++i) {
        const int64_t u = u0 + i;
        const float* map = maps[i];
        float lowest = thresholds[u];
        for (int level = 1; level < levels; ++level) {
          lowest = std::min(lowest, thresholds[level * acts.units + u]);
        }
        Scan scan = Isa::scan(map, size, lowest, workspace.hot);
        if (scan.nonfinite) {
          counters.first_nonfinite = std::min(counters.first_nonfinite, n * acts.units + u);
          if (!nonfinite_off) continue;
          map = finite_or_nan<Isa>(map, size, workspace.finite);
          scan = Isa::scan(map, size, lowest, workspace.hot);
        }
        if (!scan.any) continue;
        find_words<Isa>(map, acts.h, acts.w, geometry, thresholds + u, acts.units, levels, workspace);
        for (int level = 0; level < levels; ++level) {
          const int words = workspace.word_counts[level];
          if (words == 0) continue;
          count_words<Isa>(workspace.table, blocks, places, workspace.word_places + level * places,
                           workspace.word_bits + level * places, words, workspace.totals);
          const int64_t row = level * acts.units + u;
          const uint32_t area = workspace.totals[bitmaps];
          int64_t* intersection = counters.intersection + row * masks.concepts;
          for (int m = 0; m < bitmaps; ++m) {
            intersection[masks.bitmap_concepts[bitmap_begin + m]] += workspace.totals[m];
          }
          for (int64_t j = masks.whole_ranges[2 * n]; j < masks.whole_ranges[2 * n + 1]; ++j) {
            intersection[masks.whole_concepts[j]] += area;
          }
          for (int64_t k = 0; k < masks.categories; ++k) {
            counters.unit_area[row * masks.categories + k] += masks.annotated[n * masks.categories + k] * area;
          }
          counters.unit_area_all[row] += area;
        }
      }
    }
  }
}

}  // namespace pydissect
