// Counting unit masks against concept masks, in one pass over the activations, as three phases of a block of threads.
//
// prepare (here): bring the image's masks into shared memory. Barrier. scan (scan.cuh): read the block's values once,
// wide; note those above their unit's lowest level, a bit each. Barrier. evaluate (cells.cuh): a warp turns the bits
// into live cells, and finds the pixels above a level there; it counts these against the masks (tally.cuh).
#pragma once

#include "arguments.hpp"
#include "warp.cuh"

namespace pydissect::cuda {

// What a block counts: the source rows `top` to `bottom`, and the pixel rows below each, of some units of an image.
struct Share {
  int64_t n, first_unit;
  int units;
  int top, bottom;
  int rows;  // source rows that are read: the one at `bottom`, too, if there is one
};

PYDISSECT_INLINE Share share_of(const Arguments& arguments, int64_t block) {
  const Split& split = arguments.split;
  const int64_t rest = block / split.bands, band = block % split.bands, group = rest % split.groups;
  Share share;
  share.n = rest / split.groups;
  share.first_unit = group * split.group;
  const int64_t units = arguments.acts.units - share.first_unit;
  share.units = static_cast<int>(units < split.group ? units : split.group);
  share.top = static_cast<int>(band * split.band);
  const int below = arguments.acts.h - share.top;
  share.bottom = share.top + (below < split.band ? below : split.band);
  share.rows = share.bottom - share.top + (share.bottom < arguments.acts.h);
  return share;
}

// A piece of values that lies partly outside reads so many words before the units' levels, or after them, at most.
constexpr int kAround = 16;

// What a block needs one of.
struct Common {
  int32_t taken;  // pieces of the hot bits that warps have taken
  uint32_t full;  // 32 pixels of a mask that has them all
  uint32_t unused[kAround - 2];
};

constexpr int32_t kFull = 1;  // where `full` lies, in words

struct WarpMemory;

// A block's shared memory. `split` says where in it things lie.
struct Memory {
  uint32_t* words;
  const Split& split;

  PYDISSECT_INLINE Common& common() const { return *reinterpret_cast<Common*>(words); }
  PYDISSECT_INLINE float* lowest() const { return reinterpret_cast<float*>(words + kAround); }  // [group + kAround]
  PYDISSECT_INLINE uint32_t* hot() const { return words + 2 * kAround + split.group; }          // [hot_words]
  PYDISSECT_INLINE float* column_fractions() const {  // [W + column_step]
    return reinterpret_cast<float*>(words + split.fractions_offset);
  }
  PYDISSECT_INLINE WarpMemory* warps() const { return reinterpret_cast<WarpMemory*>(words + split.warps_offset); }
  PYDISSECT_INLINE uint32_t* masks() const { return words + split.masks_offset; }  // [staged, mask_stride]
};

// 32 bits of a mask: rows follow one another, and are whole numbers of 16 bits.
PYDISSECT_INLINE uint32_t load_mask_word(const Arguments& arguments, int64_t bitmap, uint32_t place) {
  const int64_t size = arguments.split.mask_halves;
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(arguments.masks.bitmaps) + bitmap * size + 2 * place;
  const uint32_t high = 2 * place + 1 < size ? halves[1] : 0;
  return halves[0] | high << 16;
}

PYDISSECT_INLINE int staged_masks(const Arguments& arguments, const Share& share) {
  const int64_t* range = arguments.masks.bitmap_ranges + 2 * share.n;
  const int64_t count = range[1] - range[0];
  return static_cast<int>(count < arguments.split.staged ? count : arguments.split.staged);
}

// The area of the image's concepts. One block of each image adds it.
PYDISSECT_INLINE void add_concept_areas(const Arguments& arguments, const Share& share, int thread, int threads) {
  const Masks& masks = arguments.masks;
  const int64_t pixels = static_cast<int64_t>(arguments.tables.H) * arguments.tables.W;
  int64_t* areas = arguments.sums.concept_area;
  for (int64_t i = masks.bitmap_ranges[2 * share.n] + thread; i < masks.bitmap_ranges[2 * share.n + 1]; i += threads) {
    add_to(areas[masks.bitmap_concepts[i]], masks.bitmap_pixels[i]);
  }
  for (int64_t i = masks.whole_ranges[2 * share.n] + thread; i < masks.whole_ranges[2 * share.n + 1]; i += threads) {
    add_to(areas[masks.whole_concepts[i]], pixels);
  }
}

// Warps take a mask each, so that no thread divides to find out where it is.
PYDISSECT_INLINE void stage_masks(const Arguments& arguments, const Share& share, const Memory& memory, int thread,
                                  int threads) {
  const Split& split = arguments.split;
  const int64_t first = arguments.masks.bitmap_ranges[2 * share.n];
  const int staged = staged_masks(arguments, share), size = (split.mask_halves + 1) / 2;
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(arguments.masks.bitmaps) + first * split.mask_halves;
  const bool whole = split.mask_halves % 2 == 0 && reinterpret_cast<uint64_t>(halves) % sizeof(uint32_t) == 0;
  const int lane = thread % kLanes;
  for (int mask = thread / kLanes; mask < staged; mask += threads / kLanes) {
    uint32_t* words = memory.masks() + mask * split.mask_stride + lane;
    if (whole) {
      const uint32_t* source = reinterpret_cast<const uint32_t*>(halves) + static_cast<int64_t>(mask) * size + lane;
      PYDISSECT_UNROLL_BY_4
      for (int i = lane; i < size; i += kLanes, source += kLanes, words += kLanes) *words = *source;
    } else {
      PYDISSECT_KEEP_ROLLED
      for (int i = lane; i < size; i += kLanes, words += kLanes) *words = load_mask_word(arguments, first + mask, i);
    }
  }
}

PYDISSECT_INLINE void prepare(const Arguments& arguments, const Share& share, const Memory& memory, int thread,
                              int threads) {
  const Split& split = arguments.split;
  const int64_t units = arguments.acts.units;
  for (int i = thread; i < share.units; i += threads) {
    const float* levels = arguments.thresholds + share.first_unit + i;
    float lowest = levels[0];
    for (int level = 1; level < arguments.levels; ++level) lowest = fminf(lowest, levels[level * units]);
    memory.lowest()[i] = lowest;
  }
  for (int i = thread; i < split.hot_words; i += threads) memory.hot()[i] = 0;
  if (thread == 0) memory.common() = {0, ~0u, {}};
  const Tables& tables = arguments.tables;
  for (int i = thread; i < tables.W + tables.column_step; i += threads) {
    memory.column_fractions()[i] = tables.column_fractions[i];
  }
  stage_masks(arguments, share, memory, thread, threads);
  if (share.first_unit == 0 && share.top == 0) add_concept_areas(arguments, share, thread, threads);
}

}  // namespace pydissect::cuda
