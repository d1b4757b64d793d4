// From hot values to pixels above a level, by warps. A cell lies between two source rows and two source columns, and is
// live if one of its four corners is hot; no other has a pixel (core/lerp.hpp).
//
// A warp takes a piece of the hot bits and lists its live cells. A lane takes a cell: interpolation is monotone in the
// fraction (core/lerp.hpp), and fractions never fall (Tables), so those of its pixel rows that are above the level at
// its left side are the first or the last ones, found by bisection; likewise at its right side. No other pixel row of
// it can have a pixel. Live cells side by side make a run. Then a lane takes a word of 32 pixels of one of the run's
// rows, and in each of its cells the first or the last pixels are those above the level, again by bisection.
#pragma once

#include "scan.cuh"
#include "tally.cuh"

namespace pydissect::cuda {

// What a bisection finds: the first `turn` values, or with `rising` those from there on, are above a level.
struct Above {
  int turn;
  bool rising;
};

constexpr int kWindow = 64;  // pixels of a row that a lane finds together
constexpr int kFewest = 4;  // pixels that a bisection is made for, without a loop

// Of the values that fractions[0] to fractions[count - 1] stand for; `step` is a power of two, and `count` below twice
// it. May read as many fractions more.
PYDISSECT_INLINE Above bisect(const Lerp<float>& values, const float* fractions, int count, int step, float level) {
  Above above = {0, values.difference >= 0};
  const auto halve = [&](int step) {
    const int turn = above.turn + step;
    // Without a branch, as the lanes would take either.
    const bool further = (turn <= count) & ((values.at(fractions[turn - 1]) > level) != above.rising);
    above.turn = further ? turn : above.turn;
  };
  PYDISSECT_KEEP_ROLLED
  for (; step > kFewest; step /= 2) halve(step);
  PYDISSECT_UNROLL
  for (int last = kFewest; last > 0; last /= 2) halve(last);
  return above;
}

template <Dtype kDtype, Order kOrder>
struct Cells {
  const Arguments& arguments;
  const Share& share;
  const Memory& memory;
  WarpMemory& mine;
  const Warp& warp;
  Tally& tally;
  int skew;
  int listed = 0;  // words

  PYDISSECT_INLINE Cells(const Arguments& given, const Share& own, const Memory& shared, WarpMemory& of_warp,
                         const Warp& lanes, Tally& sums)
      : arguments(given), share(own), memory(shared), mine(of_warp), warp(lanes), tally(sums),
        skew(first_bit<kDtype, kOrder>(given, own)) {}

  // Of the 32 cells of a word of hot bits, the live ones, and some others: a row's last value has no neighbour but
  // the next row's first.
  PYDISSECT_INLINE uint32_t live_cells(int word) const {
    const uint32_t w = static_cast<uint32_t>(arguments.acts.w);
    const uint32_t *words = memory.hot() + word, *below = words + w / 32;
    const uint32_t columns = words[0] | shift_down(below[0], below[1], w % 32);
    const uint32_t next_columns = words[1] | shift_down(below[1], below[2], w % 32);
    return columns | shift_down(columns, next_columns, 1);
  }

  // Lists the next live cells. `bits` are those of the last piece that are not listed yet, and `base` is its first
  // place. Returns the list's length; unless the list is full, nothing is left.
  PYDISSECT_INLINE int list_cells(PerLane<uint32_t>& bits, int& base) const {
    const int pieces = arguments.split.pieces;
    int count = 0;
    warp.sync();
    while (true) {
      if (warp.ballot([&](int lane) { return bits[lane] != 0; })) {
        PerLane<int> before;
        const int found = warp.sums([&](int lane) { return count_bits(bits[lane]); }, before);
        warp.each([&](int lane) {
          for (int i = count + before[lane]; bits[lane] != 0 && i < kLanes; ++i, bits[lane] &= bits[lane] - 1) {
            mine.places[i] = base + lane * 32 + lowest_bit(bits[lane]);
          }
        });
        count += found;
        if (count >= kLanes) break;
      }
      const int piece = warp.once([&] { return take_places(memory.common().taken, 1); });
      if (piece >= pieces * arguments.levels) break;
      base = piece * kLanes * 32;
      int of_level = piece;
      while (of_level >= pieces) of_level -= pieces;
      warp.each([&](int lane) { bits[lane] = live_cells(of_level * kLanes + lane); });
    }
    warp.sync();
    return count < kLanes ? count : kLanes;
  }

  // What a lane knows of its cell.
  struct Cell {
    int x;
    int row, rows;     // pixel rows
    int upper, lower;  // those that may have pixels above the level: so many, and those from there on
  };

  PYDISSECT_INLINE float load(int64_t place) const {
    const float value = Format<kDtype>::load(arguments.acts.data, place);
    return is_nonfinite(value) ? float_of(kNan) : value;
  }

  // Narrows the pixel rows of a cell to those of which a side is above the level.
  PYDISSECT_INLINE void bisect_side(const Lerp<float>& side, float threshold, Cell& cell) const {
    const float* fractions = arguments.tables.row_fractions + cell.row;
    const Above above = bisect(side, fractions, cell.rows, arguments.tables.row_step, threshold);
    if (above.rising) {
      if (above.turn < cell.lower) cell.lower = above.turn;
    } else {
      if (above.turn > cell.upper) cell.upper = above.turn;
    }
  }

  // The cell of a place in the list, with what is shared written there. One that is not this block's, or that has no
  // pixel, has no rows.
  PYDISSECT_INLINE Cell find_cell(int lane) const {
    const Acts& acts = arguments.acts;
    const Tables& tables = arguments.tables;
    const Split& split = arguments.split;
    Cell cell = {};
    const int bits = split.pieces * kLanes * 32;
    int level = 0, value = static_cast<int>(mine.places[lane]) - skew;
    for (; value >= bits - skew; value -= bits) ++level;
    if (value < 0) return cell;
    const int unit = static_cast<int>(split.map_values.quotient(value));
    const int rest = value - unit * static_cast<int>(split.map_values.divisor);
    const int row = static_cast<int>(split.row_values.quotient(rest)), y = share.top + row;
    cell.x = rest - row * acts.w;
    if (unit >= share.units || y >= share.bottom) return cell;
    const WarpMemory::Columns columns = {tables.first_columns[cell.x], tables.first_columns[cell.x + 1]};
    cell.row = tables.first_rows[y];
    const int64_t u = share.first_unit + unit, sum = level * acts.units + u;
    const float threshold = arguments.thresholds[sum];
    const int64_t map = share.n * acts.stride_n + u * acts.stride_u;
    const int64_t top_left = map + y * acts.stride_y + cell.x * acts.stride_x;
    const int64_t down = y + 1 < acts.h ? acts.stride_y : 0, right = cell.x + 1 < acts.w ? acts.stride_x : 0;
    const Lerp<float> left_side(load(top_left), load(top_left + down));
    const Lerp<float> right_side(load(top_left + right), load(top_left + right + down));
    // Both differences are numbers if all four values are.
    const float differences = rounded::subtract(left_side.difference, right_side.difference);
    if (columns.begin == columns.end || differences != differences) return cell;
    cell.rows = tables.first_rows[y + 1] - cell.row;
    cell.lower = cell.rows;
    bisect_side(left_side, threshold, cell);
    bisect_side(right_side, threshold, cell);
    mine.sides[lane] = {left_side, right_side};
    mine.columns[lane] = columns;
    mine.sums[lane] = static_cast<int32_t>(sum);
    mine.thresholds[lane] = threshold;
    return cell;
  }

  // The windows that a row's pixels lie in, at most: a row begins where a word does, or 16 bits further.
  PYDISSECT_INLINE int most_windows(int begin, int end) const {
    const int words = (end - 1 >> 5) - (begin >> 5) + 1, further = (end + 15 >> 5) - (begin + 16 >> 5) + 1;
    return (arguments.tables.row_bits % 32 != 0 && further > words ? further : words) + 1 >> 1;
  }

  // Finds the pixels of the listed cells.
  PYDISSECT_INLINE void evaluate(int count) {
    PerLane<Cell> cells;
    const uint32_t kept = warp.ballot([&](int lane) {
      if (lane >= count) return false;
      cells[lane] = find_cell(lane);
      return cells[lane].upper > 0 || cells[lane].lower < cells[lane].rows;
    });
    if (kept == 0) return;
    warp.sync();
    // Cells that join begin in the same two words, so that few runs have more than a window.
    const uint32_t heads = warp.ballot([&](int lane) {
      if (!(kept >> lane & 1)) return false;
      const bool joins = lane > 0 && kept >> (lane - 1) & 1 && cells[lane].x > 0 &&
                         mine.places[lane - 1] + 1 == mine.places[lane] &&
                         mine.columns[lane - 1].begin / kWindow == mine.columns[lane].begin / kWindow;
      return !joins;
    });
    warp.each([&](int lane) {
      if (!(heads >> lane & 1)) return;
      const Cell& cell = cells[lane];
      Run& run = mine.runs[count_bits(heads & lanes_before(lane))];
      const uint32_t joining = (kept & ~heads) >> lane >> 1;
      run.upper = 0;
      run.gap = cell.rows;
      run.rows = cell.rows;
      run.row = cell.row;
      run.begin = mine.columns[lane].begin;
      run.first = lane;
      run.last = lane + lowest_bit(~joining);
    });
    warp.sync();
    warp.each([&](int lane) {
      if (!(kept >> lane & 1)) return;
      const int number = count_bits(heads & lanes_up_to(lane)) - 1;
      raise_to(mine.runs[number].upper, cells[lane].upper);
      lower_to(mine.runs[number].gap, cells[lane].lower);
    });
    warp.sync();
    const int runs = count_bits(heads);
    PerLane<int> first_items;
    const int items = warp.sums([&](int lane) {
      if (lane >= runs) return 0;
      Run& run = mine.runs[lane];
      const int lower = run.gap > run.upper ? run.gap : run.upper;
      run.gap = lower - run.upper;
      run.rows -= run.gap;
      return run.rows * most_windows(run.begin, mine.columns[run.last].end);
    }, first_items);
    warp.each([&](int lane) {
      if (lane < runs) mine.runs[lane].first_item = first_items[lane];
    });
    warp.sync();
    int begun = 0;  // runs
    for (int base = 0; base < items; base += kLanes) {
      const uint32_t starts = warp.unite([&](int lane) -> uint32_t {
        const int start = first_items[lane] - base;
        return lane < runs && start >= 0 && start < kLanes ? 1u << start : 0;
      });
      find_words(base, items, begun, starts);
      begun += count_bits(starts);
    }
  }

  // Two words of a mask, one after the other.
  struct Window {
    uint32_t place;  // of the first one's first byte
    uint32_t bits, next_bits;
    int32_t sum;
  };

  // Finds, in 32 windows of the runs' rows from the `base`-th on, the pixels above the level, and lists the words that
  // have some. `begun` runs start before, and then those of `starts`.
  PYDISSECT_INLINE void find_words(int base, int items, int begun, uint32_t starts) {
    PerLane<Window> found;
    warp.each([&](int lane) {
      found[lane] = {0, 0, 0, 0};
      if (base + lane < items) {
        found[lane] = find_window(begun + count_bits(starts & lanes_up_to(lane)) - 1, base + lane);
      }
    });
    const uint32_t firsts = warp.ballot([&](int lane) { return found[lane].bits != 0; });
    const uint32_t nexts = warp.ballot([&](int lane) { return found[lane].next_bits != 0; });
    const int more = count_bits(firsts) + count_bits(nexts);
    if (listed + more > kListed) count_listed();
    warp.each([&](int lane) {
      // In the order of the runs, so that a unit's words lie together.
      const uint32_t before = lanes_before(lane);
      int place = listed + count_bits(firsts & before) + count_bits(nexts & before);
      const Window& window = found[lane];
      if (window.bits != 0) {
        mine.words[place] = {window.place, window.bits};
        mine.word_sums[place++] = window.sum;
      }
      if (window.next_bits != 0) {
        mine.words[place] = {window.place + 4, window.next_bits};
        mine.word_sums[place] = window.sum;
      }
    });
    listed += more;
  }

  PYDISSECT_INLINE void count_listed() {
    tally.count(mine, listed);
    listed = 0;
  }

  PYDISSECT_INLINE Window find_window(int number, int item) const {
    const Tables& tables = arguments.tables;
    const Run run = mine.runs[number];
    const float threshold = mine.thresholds[run.first];
    int window = 0, rows = item - run.first_item;
    for (; rows >= run.rows; rows -= run.rows) ++window;
    const int row = run.row + rows + (rows < run.upper ? 0 : run.gap);
    const float fraction = tables.row_fractions[row];
    const uint32_t row_begin = static_cast<uint32_t>(row) * tables.row_bits;
    const uint32_t word = (row_begin + run.begin) / 32 + 2 * window;
    const int origin = static_cast<int>(32 * word - row_begin);  // of the window, in the row
    Window found = {4 * word, 0, 0, mine.sums[run.first]};
    for (int i = run.first; i <= run.last; ++i) {
      const WarpMemory::Sides sides = mine.sides[i];
      const WarpMemory::Columns columns = mine.columns[i];
      const Lerp<float> pixels(sides.left.at(fraction), sides.right.at(fraction));
      const Above above = bisect(pixels, memory.column_fractions() + columns.begin, columns.end - columns.begin,
                                 tables.column_step, threshold);
      const int turn = columns.begin + above.turn - origin;
      const int begin = above.rising ? turn : columns.begin - origin, end = above.rising ? columns.end - origin : turn;
      found.bits |= bits_from(begin) & ~bits_from(end);
      found.next_bits |= bits_from(begin - 32) & ~bits_from(end - 32);
    }
    return found;
  }
};

// `number`: which of the block's warps this one is.
template <Dtype kDtype, Order kOrder>
PYDISSECT_INLINE void evaluate(const Arguments& arguments, const Share& share, const Memory& memory, int number,
                               const Warp& warp) {
  Tally tally(arguments, share, memory, warp);
  Cells<kDtype, kOrder> cells(arguments, share, memory, memory.warps()[number], warp, tally);
  PerLane<uint32_t> bits;
  warp.each([&](int lane) { bits[lane] = 0; });
  int base = 0, count;
  do {
    count = cells.list_cells(bits, base);
    cells.evaluate(count);
  } while (count == kLanes);
  cells.count_listed();
}

}  // namespace pydissect::cuda
