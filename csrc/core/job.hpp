// What a kernel is given: plain pointers and sizes, checked and normalised by the caller.
#pragma once

#include "floats.hpp"

namespace pydissect {

constexpr int kLine = 64;       // bytes of a cache line
constexpr int kWord = 8;        // pixels a word: a byte of a bitmap
constexpr int kMaskBlock = 32;  // masks counted side by side
constexpr int kRowPair = 2;     // pixel rows whose words are found and counted together
constexpr int kReaders = 8;     // pairs of them that are looked at side by side

// Activation maps [N, U, h, w]; strides in elements, of any sign and order.
struct Acts {
  const void* data;
  Dtype dtype;
  int64_t images, units;
  int h, w;
  int64_t stride_n, stride_u, stride_y, stride_x;
  const void* end;  // of the last value in memory
};

// Concept masks of N images, sparse: image n carries the concepts
// bitmap_concepts[bitmap_ranges[n][0] .. bitmap_ranges[n][1]), each with a bitmap of
// H rows of `row_bytes` bytes (pixel x is bit x % 8 of byte x / 8), and the
// whole-image concepts of whole_ranges[n], which need no bitmap.
struct Masks {
  const int64_t* bitmap_ranges;
  const int32_t* bitmap_concepts;
  const int32_t* bitmap_pixels;  // set in each bitmap
  const uint8_t* bitmaps;
  const int64_t* whole_ranges;
  const int32_t* whole_concepts;
  const uint8_t* annotated;  // [N, K]: is category k annotated in image n
  int64_t concepts, categories;
};

// A pair of pixel rows between a source row and the next. The last row of a source row that has an odd number of them
// is paired with one that is none: its fraction is NaN, so that no pixel of it lies above any threshold.
struct alignas(kLine) RowPair {
  float fractions[kRowPair * kWord];  // each once for every pixel of a word
  int64_t row;                        // the upper source row; the last one's next is itself
  int64_t top, bottom;                // places of the source rows' first values in a contiguous map
  uint64_t place;                     // of the first pixel row's first word in a bitmap, above 32 bits
};

// Pairs of pixel rows that read a source row, one after the other. Those that are none have the fraction NaN.
struct alignas(kLine) RowReaders {
  float fractions[kRowPair][kReaders];
  int32_t above[kReaders];  // all bits set: the pair lies between the row above and this one; none: below this one
  int64_t first;            // number of the first pair
  int64_t up, down;         // values of a contiguous map from the row to the one above and below; 0 at a border
};

// What the pixels of a word, which are those of a pixel row from 8 * its number on, read of a source row; and where the
// word lies in a row of a bitmap.
struct alignas(kLine) Word {
  int32_t left[kRowPair * kWord];    // source column of each pixel, less `first`; again, plus kWord, for a second row
  int32_t right[kRowPair * kWord];   // its right neighbour's
  float fraction[kRowPair * kWord];  // between these; again, for a second row
  int64_t first;                     // first source column
  uint64_t place;                    // its number, above 32 bits
};

// Where pixels read the map: the sampling tables, regrouped for the kernels.
struct Geometry {
  int h, w, H, W;
  int words;       // words a row that have pixels
  int row_bytes;   // words a row of a bitmap, which may end in some without
  int word_masks;  // 64-bit masks that hold a bit for every word of a row
  bool narrow;     // all that a word reads of a source row lies in the eight columns from its first
  int word_bits;   // that number a word
  int reader_groups;                // RowReaders a source row
  int64_t pair_count;
  uint64_t w_reciprocal;            // place / w = place * w_reciprocal / 2^63
  const RowPair* pairs;             // [pair_count]
  const Word* columns;              // [words]
  const RowReaders* row_readers;    // [h, reader_groups]
  const uint64_t* column_readers;   // [w, word_masks]: the words that read a source column
  const uint8_t* full;              // [H, row_bytes] the bitmap of all pixels
  const uint8_t* empty;             // [H, row_bytes] and of none
};

// Sums; the kernels add to them.
struct Counters {
  int64_t* intersection;    // [L, U, C]
  int64_t* unit_area;       // [L, U, K]
  int64_t* unit_area_all;   // [L, U]
  int64_t* concept_area;    // [C]; not the kernels', but their caller's
  int64_t first_nonfinite;  // smallest n * U + u of a map with a non-finite value, or INT64_MAX
};

// A rectangle of the batch, which one thread counts.
struct Part {
  int64_t image_begin, image_end;
  int64_t unit_begin, unit_end;

  __attribute__((always_inline)) bool empty() const { return unit_begin >= unit_end; }
};

}  // namespace pydissect
