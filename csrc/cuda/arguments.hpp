// What the kernels are given. Pointers are to memory that the kernel reaches; the caller has checked all sizes.
#pragma once

#include "../core/job.hpp"
#include "divisor.hpp"

namespace pydissect::cuda {

// The sampling tables, regrouped by source row and column. Between two of either, fractions never fall.
struct Tables {
  int H, W, row_bits;             // bits a row of a bitmap
  int row_step, column_step;      // powers of two; no source row or column has twice as many pixel rows or columns
  const int32_t* first_rows;      // [h + 1] the first pixel row at or below each source row
  const int32_t* first_columns;   // [w + 1] the first pixel column at or right of each source column
  const float* row_fractions;     // [H], and row_step more that may be read
  const float* column_fractions;  // [W], likewise
};

// How a kernel's values lie in memory.
enum class Order : int {
  values = 0,   // those of an image's units one after the other
  units = 1,    // the units' values side by side
  strided = 2,  // some other way
};

// How the work is split: a block has the bands of `band` source rows of `group` units of an image.
struct Split {
  int group, groups;  // units a block; blocks that share an image's units
  int band, bands;    // source rows a block; blocks that share a map's rows
  int hot_words;      // words of 32 bits that have a bit for each value that a block reads, and for those a row further
  int pieces;         // of kLanes words, that hold all values' bits
  int staged;         // masks kept in shared memory, at most
  int mask_halves;    // numbers of 16 bits a mask
  int mask_stride;    // words from one to the next there; odd, so that lanes of a warp read different banks
  int fractions_offset, warps_offset, masks_offset;  // in shared memory, in words of 32 bits
  Divisor map_values, row_values;  // by h * w and by w
};

// Sums, to which the kernel adds.
struct Sums {
  int64_t* intersection;     // [L, U, C]
  int64_t* unit_area;        // [L, U, K]
  int64_t* unit_area_all;    // [L, U]
  int64_t* concept_area;     // [C]
  int64_t* first_nonfinite;  // the smallest n * U + u of a map with a non-finite value, if that is smaller than this
};

struct Arguments {
  Acts acts;
  Masks masks;
  Tables tables;
  const float* thresholds;  // [L, U]
  int levels;
  Split split;
  Sums sums;
};

constexpr int kMostGroup = 16;  // units that a block selects for

// What the selecting kernel is given. Values that lie side by side are a run; one of neighbouring units with
// Order::units, else of a map. An image has `rows` times `columns` of them. A run is read in pieces of 16 bytes, at
// addresses that 16 divides.
struct SelectArguments {
  Acts acts;
  int64_t stride_row, stride_column;  // from run to run
  int run;           // values, with Order::values
  int image_pieces;  // of all runs of an image
  int group;         // units a block
  Divisor run_pieces, columns;
  float* values;    // [U, capacity], see core/select.hpp
  int64_t* fill;    // [U]
  float* bound;     // [U]
  int capacity, keep;
  int64_t* first_nonfinite;  // the smallest n * U + u of a map with a non-finite value, if that is smaller than this
};

}  // namespace pydissect::cuda
