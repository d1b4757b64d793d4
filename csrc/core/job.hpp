// What a kernel is given: plain pointers and sizes, checked and normalised by the caller.
#pragma once

#include <cstdint>

#include "floats.hpp"

namespace pydissect {

// Activation maps [N, U, h, w]; strides in elements, of any sign and order.
struct Acts {
  const void* data;
  Dtype dtype;
  int64_t images, units;
  int h, w;
  int64_t stride_n, stride_u, stride_y, stride_x;
};

// Concept masks of N images, sparse: image n carries the concepts
// bitmap_concepts[bitmap_ranges[n][0] .. bitmap_ranges[n][1]), each with a bitmap of
// H rows of `words` 16-bit words (pixel x is bit x % 16 of word x / 16), and the
// whole-image concepts of whole_ranges[n], which need no bitmap.
struct Masks {
  const int64_t* bitmap_ranges;
  const int32_t* bitmap_concepts;
  const uint16_t* bitmaps;
  const int64_t* whole_ranges;
  const int32_t* whole_concepts;
  const uint8_t* annotated;  // [N, K]: is category k annotated in image n
  int64_t concepts, categories;
  int max_bitmaps;  // the most that any of the images has
};

// Where pixels read the map: the sampling tables, regrouped for the kernels.
struct Geometry {
  int H, W;
  int words;                  // 16-pixel words a row
  const int32_t* row_first;   // [h + 1]: pixel rows row_first[y] .. row_first[y + 1] lie in source row y
  const float* row_fraction;  // [H]
  const int32_t* first;       // [words]: first source column that a word reads
  const int32_t* last;        // [words]: the last, inclusive
  const uint64_t* columns;    // [words]: the source columns first .. last as bits, for maps of at most 64 columns
  const int32_t* left;        // [words, 16]: source column of each pixel, less the word's first
  const int32_t* right;       // [words, 16]: its right neighbour's, less the word's first
  const float* fraction;      // [words, 16]
  const uint16_t* lanes;      // [words]: the bits that are pixels (the last word may have fewer)
};

// Sums; the kernels add to them.
struct Counters {
  int64_t* intersection;    // [L, U, C]
  int64_t* unit_area;       // [L, U, K]
  int64_t* unit_area_all;   // [L, U]
  int64_t first_nonfinite;  // smallest n * U + u of a map with a non-finite value, or INT64_MAX
};

// A rectangle of the batch, the share of one thread.
struct Part {
  int64_t image_begin, image_end;
  int64_t unit_begin, unit_end;
};

}  // namespace pydissect
