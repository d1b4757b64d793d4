// Counting unit masks against concept masks, in one pass over the activations, as three phases of a block of threads.
//
// prepare: bring the image's masks into shared memory. Barrier. scan: read the block's values once, wide; where one is
// above its unit's lowest level, mark the words of 32 pixels that read it. Barrier. evaluate: a warp takes a map and
// its marks: a lane interpolates a pixel, a ballot makes the word, the words that are not empty are listed; a lane then
// takes a mask and counts the pixels that it shares with those.
//
// A word is marked for the pixel rows between two source rows, when one of the values that it reads there is above the
// lowest level. The others cannot have a pixel (core/lerp.hpp), and marking twice changes nothing.
#pragma once

#include "../core/lerp.hpp"
#include "arguments.hpp"
#include "format.cuh"
#include "warp.cuh"

namespace pydissect::cuda {

constexpr int kListed = kLanes;  // words that a warp lists before it counts them

// A list of words with pixels, in shared memory; one a warp.
struct Found {
  uint32_t place[kListed];  // pixel row * words + word
  uint32_t bits[kListed];
  int32_t level[kListed];
};

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

// A block's shared memory. `split` says where in it things lie.
struct Memory {
  uint32_t* words;
  const Split& split;

  PYDISSECT_INLINE float* lowest() const { return reinterpret_cast<float*>(words); }      // [group]
  PYDISSECT_INLINE uint32_t* marks() const { return words + split.group; }                // [group, mark_words]
  PYDISSECT_INLINE Found* found() const { return reinterpret_cast<Found*>(words + split.found_offset); }  // [warps]
  PYDISSECT_INLINE uint32_t* masks() const { return words + split.masks_offset; }         // [staged, mask_stride]
};

// 32 pixels of a mask. Rows are whole numbers of 16 bits.
PYDISSECT_INLINE uint32_t load_mask_word(const Arguments& arguments, int64_t row, int word) {
  const uint8_t* bytes = arguments.masks.bitmaps + row * arguments.row_bytes;
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(bytes) + 2 * word;
  const uint32_t high = 4 * word + 2 < arguments.row_bytes ? halves[1] : 0;
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

PYDISSECT_INLINE void prepare(const Arguments& arguments, const Share& share, const Memory& memory, int thread,
                              int threads) {
  const Split& split = arguments.split;
  const int64_t units = arguments.acts.units;
  for (int i = thread; i < share.units; i += threads) {
    const float* levels = arguments.thresholds + share.first_unit + i;
    float lowest = levels[0];
    for (int level = 1; level < arguments.levels; ++level) {
      if (levels[level * units] < lowest) lowest = levels[level * units];
    }
    memory.lowest()[i] = lowest;
  }
  for (int i = thread; i < share.units * split.mark_words; i += threads) memory.marks()[i] = 0;
  const int words = arguments.tables.words;
  const uint32_t count = static_cast<uint32_t>(staged_masks(arguments, share) * arguments.tables.H) * words;
  const int64_t first_row = arguments.masks.bitmap_ranges[2 * share.n] * arguments.tables.H;
  for (uint32_t i = thread; i < count; i += threads) {
    const uint32_t row = split.mask_words.quotient(i), word = i - row * words;
    const uint32_t mask = split.mask_rows.quotient(row), y = row - mask * arguments.tables.H;
    memory.masks()[mask * split.mask_stride + y * words + word] =
        load_mask_word(arguments, first_row + row, static_cast<int>(word));
  }
  if (share.first_unit == 0 && share.top == 0) add_concept_areas(arguments, share, thread, threads);
}

// --- scan ----------------------------------------------------------------------------------------------------------

// Marks the words that read column x of source row y, for the pixel rows below it and for those above.
PYDISSECT_INLINE void mark(const Arguments& arguments, const Share& share, const Memory& memory, int unit, int y,
                           int x) {
  const int32_t* readers = arguments.tables.readers + 2 * x;
  if (readers[0] > readers[1]) return;
  uint32_t* marks = memory.marks() + unit * arguments.split.mark_words;
  for (int row = y - 1; row <= y; ++row) {
    if (row < share.top || row >= share.bottom) continue;
    const int begin = (row - share.top) * arguments.tables.words + readers[0], last = begin + readers[1] - readers[0];
    for (int i = begin / 32; i <= last / 32; ++i) {
      const uint32_t from = i == begin / 32 ? ~0u << begin % 32 : ~0u;
      const uint32_t to = i == last / 32 ? ~0u >> (31 - last % 32) : ~0u;
      set_bits(marks[i], from & to);
    }
  }
}

// Looks at one value; `place` is that in the rows of the map that are read.
PYDISSECT_INLINE void look_at(const Arguments& arguments, const Share& share, const Memory& memory, float value,
                              int unit, int place) {
  if (is_nonfinite(value)) {
    lower_to(*arguments.sums.first_nonfinite, share.n * arguments.acts.units + share.first_unit + unit);
  }
  if (value > memory.lowest()[unit]) {
    const int y = place / arguments.acts.w;
    mark(arguments, share, memory, unit, share.top + y, place - y * arguments.acts.w);
  }
}

PYDISSECT_INLINE int64_t first_value(const Arguments& arguments, const Share& share) {
  const Acts& acts = arguments.acts;
  return share.n * acts.stride_n + share.first_unit * acts.stride_u + share.top * acts.stride_y;
}

// Values that lie side by side: runs of them, cut into pieces of 16 bytes at addresses that 16 divides. With
// Order::values there is one run, of the units' maps; with Order::units one a place, of its values in the units.
template <Dtype kDtype, Order kOrder>
struct Runs {
  using Values = Format<kDtype>;
  const Arguments& arguments;
  const Share& share;
  const Memory& memory;
  int length, pieces;  // of a run

  PYDISSECT_INLINE Runs(const Arguments& given, const Share& own, const Memory& shared)
      : arguments(given), share(own), memory(shared) {
    const int map = given.acts.h * given.acts.w;
    length = kOrder == Order::units ? own.units : (own.units - 1) * map + own.rows * given.acts.w;
    pieces = (length + 2 * Values::kWide - 2) / Values::kWide;
  }

  PYDISSECT_INLINE int total() const {
    if (length <= 0) return 0;
    return kOrder == Order::units ? pieces * share.rows * arguments.acts.w : pieces;
  }

  // A piece: where its run begins, and which values of it are its own; some may lie outside at either end.
  struct Piece {
    int run, first;
    int64_t run_begin;  // in acts
    bool inside;
  };

  PYDISSECT_INLINE Piece piece(int number) const {
    const Acts& acts = arguments.acts;
    Piece piece;
    piece.run = kOrder == Order::units ? number / pieces : 0;
    piece.run_begin = first_value(arguments, share);
    if constexpr (kOrder == Order::units) {
      const int y = piece.run / acts.w;
      piece.run_begin += y * acts.stride_y + (piece.run - y * acts.w) * acts.stride_x;
    }
    const uint64_t address = reinterpret_cast<uint64_t>(acts.data) + piece.run_begin * Values::kBytes;
    const int skew = static_cast<int>(address % sizeof(Wide)) / Values::kBytes;
    piece.first = (number - piece.run * pieces) * Values::kWide - skew;
    piece.inside = piece.first >= 0 && piece.first + Values::kWide <= length;
    return piece;
  }

  PYDISSECT_INLINE Wide load(const Piece& piece) const {
    const int64_t place = piece.run_begin + piece.first;
    return load_wide(static_cast<const uint8_t*>(arguments.acts.data) + place * Values::kBytes);
  }

  PYDISSECT_INLINE int unit_of(int place) const {
    return kOrder == Order::units ? place : static_cast<int>(arguments.split.map_values.quotient(place));
  }

  // Whether a piece has a value that is above its unit's lowest level, or is not finite.
  PYDISSECT_INLINE bool has_some(const Piece& piece, const Wide& wide) const {
    const float* lowest = memory.lowest();
    const int map = static_cast<int>(arguments.split.map_values.divisor);
    bool some = Values::has_nonfinite(wide);
    if (kOrder == Order::values && map >= Values::kWide) {
      const int unit = unit_of(piece.first), left = (unit + 1) * map - piece.first;
      const float level = lowest[unit], next_level = left < Values::kWide ? lowest[unit + 1] : level;
      for (int i = 0; i < Values::kWide; ++i) some |= Values::value(wide, i) > (i < left ? level : next_level);
    } else {
      for (int i = 0; i < Values::kWide; ++i) some |= Values::value(wide, i) > lowest[unit_of(piece.first + i)];
    }
    return some;
  }

  PYDISSECT_INLINE void look_at_all(const Piece& piece) const {
    const int begin = piece.first < 0 ? 0 : piece.first;
    const int end = piece.first + Values::kWide < length ? piece.first + Values::kWide : length;
    for (int i = begin; i < end; ++i) {
      const float value = Values::load(arguments.acts.data, piece.run_begin + i);
      const int unit = unit_of(i);
      const int place = kOrder == Order::units ? piece.run : i - unit * arguments.acts.h * arguments.acts.w;
      look_at(arguments, share, memory, value, unit, place);
    }
  }
};

constexpr int kAhead = 4;  // loads of a thread that are under way at once

template <Dtype kDtype, Order kOrder>
PYDISSECT_INLINE void scan_runs(const Arguments& arguments, const Share& share, const Memory& memory, int thread,
                                int threads) {
  const Runs<kDtype, kOrder> runs(arguments, share, memory);
  const int total = runs.total();
  for (int begin = thread; begin < total; begin += kAhead * threads) {
    Wide wide[kAhead];
PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      const int number = begin + i * threads;
      if (number >= total) continue;
      const auto piece = runs.piece(number);
      if (piece.inside) wide[i] = runs.load(piece);
    }
PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      const int number = begin + i * threads;
      if (number >= total) continue;
      const auto piece = runs.piece(number);
      if (!piece.inside || runs.has_some(piece, wide[i])) runs.look_at_all(piece);
    }
  }
}

// Values of any strides; threads side by side read what lies nearer together, columns or units.
template <Dtype kDtype>
PYDISSECT_INLINE void scan_strided(const Arguments& arguments, const Share& share, const Memory& memory, int thread,
                                   int threads) {
  const Acts& acts = arguments.acts;
  const int places = share.rows * acts.w, total = share.units * places;
  const bool units_first = acts.stride_u < acts.stride_x;
  for (int i = thread; i < total; i += threads) {
    const int unit = units_first ? i % share.units : i / places;
    const int place = units_first ? i / share.units : i - unit * places;
    const int y = place / acts.w, x = place - y * acts.w;
    const int64_t at = first_value(arguments, share) + unit * acts.stride_u + y * acts.stride_y + x * acts.stride_x;
    look_at(arguments, share, memory, Format<kDtype>::load(acts.data, at), unit, place);
  }
}

template <Dtype kDtype, Order kOrder>
PYDISSECT_INLINE void scan(const Arguments& arguments, const Share& share, const Memory& memory, int thread,
                           int threads) {
  if constexpr (kOrder == Order::strided) {
    scan_strided<kDtype>(arguments, share, memory, thread, threads);
  } else {
    scan_runs<kDtype, kOrder>(arguments, share, memory, thread, threads);
  }
}

// --- evaluate ------------------------------------------------------------------------------------------------------

// Adds what the listed words of a unit say. The list is empty then.
PYDISSECT_INLINE void count_found(const Arguments& arguments, const Share& share, const Memory& memory,
                                  const Found& found, int listed, int64_t u, const Warp& warp) {
  const Masks& masks = arguments.masks;
  const Tables& tables = arguments.tables;
  const int64_t n = share.n, begin = masks.bitmap_ranges[2 * n], count = masks.bitmap_ranges[2 * n + 1] - begin;
  const int staged = staged_masks(arguments, share);
  warp.sync();
  for (int level = 0; level < arguments.levels; ++level) {
    const uint32_t area = warp.sum([&](int lane) -> uint32_t {
      return lane < listed && found.level[lane] == level ? count_bits(found.bits[lane]) : 0;
    });
    if (area == 0) continue;
    const int64_t row = level * arguments.acts.units + u;
    int64_t* intersection = arguments.sums.intersection + row * masks.concepts;
    warp.each([&](int lane) {
      PYDISSECT_KEEP_ROLLED
      for (int64_t m = lane; m < count; m += kLanes) {
        const uint32_t* mask = memory.masks() + m * arguments.split.mask_stride;
        int pixels = 0;
        for (int i = 0; i < listed; ++i) {
          if (found.level[i] != level) continue;
          const uint32_t place = found.place[i];
          uint32_t word;
          if (m < staged) {
            word = mask[place];
          } else {
            const uint32_t y = place / tables.words;
            word = load_mask_word(arguments, (begin + m) * tables.H + y, static_cast<int>(place - y * tables.words));
          }
          pixels += count_bits(found.bits[i] & word);
        }
        if (pixels) add_to(intersection[masks.bitmap_concepts[begin + m]], pixels);
      }
      PYDISSECT_KEEP_ROLLED
      for (int64_t i = masks.whole_ranges[2 * n] + lane; i < masks.whole_ranges[2 * n + 1]; i += kLanes) {
        add_to(intersection[masks.whole_concepts[i]], area);
      }
      PYDISSECT_KEEP_ROLLED
      for (int64_t k = lane; k < masks.categories; k += kLanes) {
        if (masks.annotated[n * masks.categories + k]) {
          add_to(arguments.sums.unit_area[row * masks.categories + k], area);
        }
      }
      if (lane == 0) add_to(arguments.sums.unit_area_all[row], area);
    });
  }
  warp.sync();
}

// What a lane's pixels between two source rows read.
struct Cell {
  float top_left, top_right, bottom_left, bottom_right;
  float fraction;  // between left and right; NaN beyond the image, so that no pixel there is above a level

  PYDISSECT_INLINE float at(float row_fraction) const {
    const float left = Lerp<float>(top_left, bottom_left).at(row_fraction);
    const float right = Lerp<float>(top_right, bottom_right).at(row_fraction);
    return Lerp<float>(left, right).at(fraction);
  }
};

template <Dtype kDtype>
PYDISSECT_INLINE Cell load_cell(const Arguments& arguments, int64_t map, int y, int pixel) {
  const Acts& acts = arguments.acts;
  const Tables& tables = arguments.tables;
  Cell cell = {0.0f, 0.0f, 0.0f, 0.0f, float_of(kNan)};
  if (pixel >= tables.W) return cell;
  const int x = tables.columns[pixel];
  cell.fraction = tables.column_fractions[pixel];
  const int64_t top = map + y * acts.stride_y, bottom = y + 1 < acts.h ? top + acts.stride_y : top;
  const int64_t left = x * acts.stride_x, right = x + 1 < acts.w ? left + acts.stride_x : left;
  const auto load = [&](int64_t place) {
    const float value = Format<kDtype>::load(acts.data, place);
    return is_nonfinite(value) ? float_of(kNan) : value;
  };
  cell.top_left = load(top + left);
  cell.top_right = load(top + right);
  cell.bottom_left = load(bottom + left);
  cell.bottom_right = load(bottom + right);
  return cell;
}

// Where a warp is in its share of a map's marks.
struct Cursor {
  int next;        // the 32 marks to load next
  uint32_t marks;  // what is left of those loaded before
  int row, level;  // pixel rows, and levels of one more, that are done of the word that the lowest of them marks
};

// Interpolates the pixels of the marked words, from the cursor on, and lists the words that have some above a level.
// Returns the list's length; unless the list is full, nothing is left.
template <Dtype kDtype>
PYDISSECT_INLINE int find_pixels(const Arguments& arguments, const Share& share, const uint32_t* marks, int64_t u,
                                 Found& found, Cursor& cursor, const Warp& warp) {
  const Acts& acts = arguments.acts;
  const Split& split = arguments.split;
  const Tables& tables = arguments.tables;
  const int64_t map = share.n * acts.stride_n + u * acts.stride_u;
  int listed = 0;
  while (true) {
    if (cursor.marks == 0) {
      if (cursor.next >= split.mark_words) return listed;
      cursor.marks = marks[cursor.next];
      cursor.next += split.slices;
      continue;
    }
    const int place = (cursor.next - split.slices) * 32 + lowest_bit(cursor.marks);
    const int row_of_place = place / tables.words, word = place - row_of_place * tables.words;
    const int y = share.top + row_of_place;
    PerLane<Cell> cells;
    warp.each([&](int lane) { cells[lane] = load_cell<kDtype>(arguments, map, y, word * kLanes + lane); });
    const int last = tables.first_rows[y + 1];
    for (int row = tables.first_rows[y] + cursor.row; row < last; ++row, cursor.level = 0) {
      const float row_fraction = tables.row_fractions[row];
      PerLane<float> values;
      warp.each([&](int lane) { values[lane] = cells[lane].at(row_fraction); });
      for (; cursor.level < arguments.levels; ++cursor.level) {
        const float threshold = arguments.thresholds[cursor.level * acts.units + u];
        const uint32_t bits = warp.ballot([&](int lane) { return values[lane] > threshold; });
        if (bits == 0) continue;
        if (listed == kListed) {
          cursor.row = row - tables.first_rows[y];
          return listed;
        }
        warp.each([&](int lane) {
          if (lane != 0) return;
          found.place[listed] = static_cast<uint32_t>(row) * tables.words + word;
          found.bits[listed] = bits;
          found.level[listed] = cursor.level;
        });
        ++listed;
      }
    }
    cursor.marks &= cursor.marks - 1;
    cursor.row = 0;
  }
}

// `number` of `warps`: which of the block's this one is.
template <Dtype kDtype>
PYDISSECT_INLINE void evaluate(const Arguments& arguments, const Share& share, const Memory& memory, int number,
                               int warps, const Warp& warp) {
  const Split& split = arguments.split;
  Found& found = memory.found()[number];
  for (int task = number; task < share.units * split.slices; task += warps) {
    const int unit = task / split.slices;
    const uint32_t* marks = memory.marks() + unit * split.mark_words;
    Cursor cursor = {task - unit * split.slices, 0, 0, 0};
    int listed;
    do {
      listed = find_pixels<kDtype>(arguments, share, marks, share.first_unit + unit, found, cursor, warp);
      if (listed) count_found(arguments, share, memory, found, listed, share.first_unit + unit, warp);
    } while (listed == kListed);
  }
}

}  // namespace pydissect::cuda
