// The values above their unit's lowest level: hot ones. A bit each, in shared memory, in the order of units, rows and
// columns, whatever the values' order in memory.
#pragma once

#include "count.cuh"
#include "format.cuh"

namespace pydissect::cuda {

PYDISSECT_INLINE int64_t first_value(const Arguments& arguments, const Share& share) {
  const Acts& acts = arguments.acts;
  return share.n * acts.stride_n + share.first_unit * acts.stride_u + share.top * acts.stride_y;
}

PYDISSECT_INLINE void note_nonfinite(const Arguments& arguments, const Share& share, int unit) {
  lower_to(*arguments.sums.first_nonfinite, share.n * arguments.acts.units + share.first_unit + unit);
}

// Loads of 16 bytes that a thread decides about together, for then it looks up their unit once. They are side by side,
// from an address on that all their bytes divide.
constexpr int kLoads = 2;

template <Dtype kDtype>
struct Piece {
  using Values = Format<kDtype>;
  static constexpr int kValues = kLoads * Values::kWide;
  static_assert(kValues <= kAround);
  static constexpr uint32_t kAll = (1u << kValues) - 1;
  Wide wide[kLoads];

  PYDISSECT_INLINE float value(int i) const { return Values::value(wide[i / Values::kWide], i % Values::kWide); }

  // Bit i says whether value i is above the level.
  PYDISSECT_INLINE uint32_t above(float level) const {
    uint32_t bits = 0;
    PYDISSECT_UNROLL
    for (int i = 0; i < kLoads; ++i) bits |= Values::above(wide[i], level) << i * Values::kWide;
    return bits;
  }

  PYDISSECT_INLINE bool has_nonfinite() const { return Values::has_nonfinite(wide[0], wide[1]); }
};

// The number of the first value, counted from an address that a piece's bytes divide. The bit of a value is as far from
// a piece's first bit, so that a thread writes all of a piece at once.
template <Dtype kDtype>
PYDISSECT_INLINE int skew_of(const Arguments& arguments, int64_t value) {
  const uint64_t address = reinterpret_cast<uint64_t>(arguments.acts.data) + value * Format<kDtype>::kBytes;
  return static_cast<int>(address % (kLoads * sizeof(Wide))) / Format<kDtype>::kBytes;
}

// The place of the block's first value among the hot bits.
template <Dtype kDtype, Order kOrder>
PYDISSECT_INLINE int first_bit(const Arguments& arguments, const Share& share) {
  return kOrder == Order::values ? skew_of<kDtype>(arguments, first_value(arguments, share)) : 0;
}

// Values that lie side by side: runs of them, cut into pieces. With Order::values there is one run, of the units' maps;
// with Order::units one a place, of its values in the units.
template <Dtype kDtype, Order kOrder>
struct Runs {
  using Values = Format<kDtype>;
  static constexpr int kValues = Piece<kDtype>::kValues;
  const Arguments& arguments;
  const Share& share;
  const Memory& memory;
  int length, pieces;  // of a run
  int64_t begin;       // of the first run
  int skew;
  const uint8_t* first_piece;

  PYDISSECT_INLINE Runs(const Arguments& given, const Share& own, const Memory& shared)
      : arguments(given), share(own), memory(shared), begin(first_value(given, own)),
        skew(skew_of<kDtype>(given, begin)),
        first_piece(at(begin - skew)) {
    const int map = given.acts.h * given.acts.w;
    length = kOrder == Order::units ? own.units : (own.units - 1) * map + own.rows * given.acts.w;
    pieces = (length + 2 * kValues - 2) / kValues;
  }

  PYDISSECT_INLINE const uint8_t* at(int64_t value) const {
    return static_cast<const uint8_t*>(arguments.acts.data) + value * Values::kBytes;
  }

  PYDISSECT_INLINE int total() const {
    if (length <= 0) return 0;
    return kOrder == Order::units ? pieces * share.rows * arguments.acts.w : pieces;
  }

  // Where a piece lies: its run, its first value in that, and in memory; some values may lie outside at either end.
  struct Place {
    int run, first;
    const uint8_t* address;
  };

  PYDISSECT_INLINE Place place(int number) const {
    if constexpr (kOrder == Order::values) {
      const int first = number * kValues - skew;
      return {0, first, first_piece + static_cast<uint32_t>(number) * uint64_t{sizeof(Piece<kDtype>)}};
    }
    const Acts& acts = arguments.acts;
    const int run = number / pieces, y = static_cast<int>(arguments.split.row_values.quotient(run));
    const int64_t run_begin = begin + y * acts.stride_y + (run - y * acts.w) * acts.stride_x;
    const int first = (number - run * pieces) * kValues - skew_of<kDtype>(arguments, run_begin);
    return {run, first, at(run_begin + first)};
  }

  PYDISSECT_INLINE bool is_whole(const Place& place) const {
    return place.first >= 0 && place.first + kValues <= length;
  }

  // The values of a piece that are the run's own, a bit each.
  PYDISSECT_INLINE uint32_t own(const Place& place) const {
    const int outside = place.first < 0 ? -place.first : 0, left = length - place.first;
    if (left <= outside) return 0;
    const uint32_t up_to_end = left < kValues ? (1u << left) - 1 : Piece<kDtype>::kAll;
    return up_to_end & ~0u << outside;
  }

  PYDISSECT_INLINE Piece<kDtype> load(const Place& place) const {
    Piece<kDtype> piece = {};
    if (is_whole(place)) {
      PYDISSECT_UNROLL
      for (int i = 0; i < kLoads; ++i) piece.wide[i] = load_wide(place.address + i * sizeof(Wide));
      return piece;
    }
    const uint32_t inside = own(place);
    PYDISSECT_UNROLL
    for (int i = 0; i < kValues; ++i) {
      if (!(inside >> i & 1)) continue;
      Values::set(piece.wide[i / Values::kWide], i % Values::kWide, place.address + i * Values::kBytes);
    }
    return piece;
  }

  PYDISSECT_INLINE int unit_of(int value) const {
    return kOrder == Order::units ? value : static_cast<int>(arguments.split.map_values.quotient(value));
  }

  // The hot values of a piece, a bit each; perhaps also of values that are not the run's own.
  PYDISSECT_INLINE uint32_t hot(const Place& place, const Piece<kDtype>& piece) const {
    const float* lowest = memory.lowest();
    const int map = static_cast<int>(arguments.split.map_values.divisor);
    if (kOrder == Order::values && map >= kValues) {
      const int unit = unit_of(place.first < 0 ? 0 : place.first), left = (unit + 1) * map - place.first;
      const uint32_t bits = piece.above(lowest[unit]);
      if (left >= kValues || unit + 1 >= share.units) return bits;
      const uint32_t mine = (1u << left) - 1;
      return (bits & mine) | (piece.above(lowest[unit + 1]) & ~mine);
    }
    uint32_t bits = 0;
    if (kOrder == Order::units) {
      PYDISSECT_UNROLL
      for (int i = 0; i < kValues; ++i) {
        bits |= static_cast<uint32_t>(piece.value(i) > lowest[place.first + i]) << i;
      }
      return bits;
    }
    PYDISSECT_UNROLL
    for (int i = 0; i < kValues; ++i) {
      const int value = place.first + i;
      if (value >= 0 && value < length && piece.value(i) > lowest[unit_of(value)]) bits |= 1u << i;
    }
    return bits;
  }

  PYDISSECT_INLINE void note(int number, const Place& place, uint32_t hot) const {
    if constexpr (kOrder == Order::values) {
      put_bits<kValues>(memory.hot(), number, hot);
    } else {
      for (; hot; hot &= hot - 1) {
        const int unit = place.first + lowest_bit(hot);
        const int bit = unit * static_cast<int>(arguments.split.map_values.divisor) + place.run;
        set_bits(memory.hot()[bit / 32], 1u << bit % 32);
      }
    }
  }

  PYDISSECT_INLINE void look_at(int number, const Piece<kDtype>& piece) const {
    const Place where = place(number);
    uint32_t bits = hot(where, piece);
    if (!is_whole(where)) bits &= own(where);
    note(number, where, bits);
    if (!piece.has_nonfinite()) return;
    const uint32_t inside = own(where);
    PYDISSECT_UNROLL
    for (int i = 0; i < kValues; ++i) {
      if (inside >> i & 1 && is_nonfinite(piece.value(i))) note_nonfinite(arguments, share, unit_of(where.first + i));
    }
  }
};

constexpr int kAhead = 2;  // pieces that a thread loads before it looks at the first

template <Dtype kDtype, Order kOrder>
PYDISSECT_INLINE void scan_runs(const Arguments& arguments, const Share& share, const Memory& memory, int thread,
                                int threads) {
  const Runs<kDtype, kOrder> runs(arguments, share, memory);
  const int total = runs.total();
  for (int begin = thread; begin < total; begin += kAhead * threads) {
    Piece<kDtype> pieces[kAhead];
    PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      const int number = begin + i * threads;
      if (number < total) pieces[i] = runs.load(runs.place(number));
    }
    PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      const int number = begin + i * threads;
      if (number < total) runs.look_at(number, pieces[i]);
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
    const float value = Format<kDtype>::load(acts.data, at);
    if (is_nonfinite(value)) note_nonfinite(arguments, share, unit);
    const int bit = unit * acts.h * acts.w + place;
    if (value > memory.lowest()[unit]) set_bits(memory.hot()[bit / 32], 1u << bit % 32);
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

}  // namespace pydissect::cuda
