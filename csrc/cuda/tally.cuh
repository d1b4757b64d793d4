// Words of pixels that are above a level, counted against the image's masks: a lane takes a mask and counts the pixels
// that it shares with all words of a unit.
#pragma once

#include "../core/lerp.hpp"
#include "count.cuh"

namespace pydissect::cuda {

// 32 pixels of a unit mask.
struct alignas(8) Word {
  uint32_t place;  // of its first byte among a mask's
  uint32_t bits;
};

// A horizontal run of live cells: the pixel columns `begin` to `end` of some rows.
struct alignas(16) Run {
  int32_t first_item;  // of all runs' rows and windows
  int32_t rows;        // that may have a pixel above the level:
  int32_t upper;       // so many from `row` on,
  int32_t gap;         // and, so many rows further, the rest
  int32_t row;
  int32_t begin;
  int32_t first, last;  // cells
};

constexpr int kListed = 2 * kLanes;  // words that a warp lists before it counts them

// A warp's memory.
struct WarpMemory {
  // Of a cell, down the pixel rows.
  struct alignas(16) Sides {
    Lerp<float> left, right;
  };
  struct alignas(8) Columns {
    int32_t begin, end;
  };

  Run runs[kLanes];
  Sides sides[kLanes];
  Columns columns[kLanes];  // pixel columns
  Word words[kListed];
  int32_t sums[kLanes];     // level * units + unit, of each cell
  float thresholds[kLanes];  // likewise
  uint32_t places[kLanes];  // likewise: a hot bit's, and level * bits more
  int32_t word_sums[kListed];
};

static_assert(sizeof(WarpMemory) == 4 * 736, "pydissect/backends/cuda_launch.py sets as much aside");

// What the words of a unit are counted for: a mask, and where the pixels shared with it are added.
struct Target {
  int64_t* sum;    // of level 0 of unit 0; null: nowhere
  int32_t step;    // to the next unit's
  int32_t offset;  // of the mask in the block's memory; kElsewhere: it is not there
  uint32_t scale;  // of places in it: 1, or 0 if a single word stands for all, for all pixels are in it
};

constexpr int32_t kElsewhere = -1;

struct Tally {
  const Arguments& arguments;
  const Share& share;
  const Memory& memory;
  const Warp& warp;
  int targets;          // of the image
  PerLane<Target> own;  // the first ones, which are all that most images have

  PYDISSECT_INLINE Tally(const Arguments& given, const Share& mine, const Memory& shared, const Warp& lanes)
      : arguments(given), share(mine), memory(shared), warp(lanes) {
    targets = bitmaps() + wholes() + static_cast<int>(given.masks.categories) + 1;
    warp.each([&](int lane) { own[lane] = target(lane); });
  }

  PYDISSECT_INLINE int bitmaps() const {
    const int64_t* range = arguments.masks.bitmap_ranges + 2 * share.n;
    return static_cast<int>(range[1] - range[0]);
  }
  PYDISSECT_INLINE int wholes() const {
    const int64_t* range = arguments.masks.whole_ranges + 2 * share.n;
    return static_cast<int>(range[1] - range[0]);
  }

  // Bitmaps, whole-image labels, the categories' areas, and that of all images.
  PYDISSECT_INLINE Target target(int number) const {
    const Masks& masks = arguments.masks;
    const Sums& sums = arguments.sums;
    const Split& split = arguments.split;
    const int32_t concepts = static_cast<int32_t>(masks.concepts), categories = static_cast<int32_t>(masks.categories);
    if (number < bitmaps()) {
      return {sums.intersection + masks.bitmap_concepts[masks.bitmap_ranges[2 * share.n] + number], concepts,
              number < split.staged ? split.masks_offset + number * split.mask_stride : kElsewhere, 1};
    }
    number -= bitmaps();
    if (number < wholes()) {
      return {sums.intersection + masks.whole_concepts[masks.whole_ranges[2 * share.n] + number], concepts, kFull, 0};
    }
    number -= wholes();
    if (number < categories) {
      const bool annotated = masks.annotated[share.n * categories + number];
      return {annotated ? sums.unit_area + number : nullptr, categories, kFull, 0};
    }
    return {number == categories ? sums.unit_area_all : nullptr, 1, kFull, 0};
  }

  PYDISSECT_INLINE int staged_pixels(const Target& target, const Word* words, int count) const {
    const uint8_t* mask = reinterpret_cast<const uint8_t*>(memory.words + target.offset);
    int pixels = 0;
    for (int i = 0; i < count; ++i) {
      const Word word = words[i];
      pixels += count_bits(word.bits & *reinterpret_cast<const uint32_t*>(mask + word.place * target.scale));
    }
    return pixels;
  }

  PYDISSECT_INLINE int bitmap_pixels(int number, const Word* words, int count) const {
    const int64_t bitmap = arguments.masks.bitmap_ranges[2 * share.n] + number;
    int pixels = 0;
    PYDISSECT_KEEP_ROLLED
    for (int i = 0; i < count; ++i) {
      pixels += count_bits(words[i].bits & load_mask_word(arguments, bitmap, words[i].place / 4));
    }
    return pixels;
  }

  PYDISSECT_INLINE void add(const Target& target, int number, int sum, const Word* words, int count) const {
    if (target.sum == nullptr) return;
    const int pixels =
        target.offset == kElsewhere ? bitmap_pixels(number, words, count) : staged_pixels(target, words, count);
    if (pixels) add_to(target.sum[static_cast<int64_t>(sum) * target.step], pixels);
  }

  // Counts the words that are listed, which lie unit after unit.
  PYDISSECT_INLINE void count(const WarpMemory& mine, int listed) {
    warp.sync();
    for (int begin = 0; begin < listed;) {
      const int sum = mine.word_sums[begin];
      const uint32_t others = warp.ballot([&](int lane) {
        return begin + lane >= listed || mine.word_sums[begin + lane] != sum;
      });
      const int count = others ? lowest_bit(others) : kLanes;
      warp.each([&](int lane) {
        const Word* words = mine.words + begin;
        add(own[lane], lane, sum, words, count);
        PYDISSECT_KEEP_ROLLED
        for (int i = kLanes + lane; i < targets; i += kLanes) add(target(i), i, sum, words, count);
      });
      begin += count;
    }
    warp.sync();
  }
};

}  // namespace pydissect::cuda
