// Exact streaming selection: what core/select.hpp does, by blocks of threads.
//
// A block has units of its own, and goes through the whole batch for them: nobody else touches their buffers. Every
// thread reads some values, wide, and gives those above their unit's bound places in its buffer, by adding to the fill.
// Where there are more than fit, the block prunes the buffer, and the threads go on with those of their values that are
// still above the bound, until none is left without a place. So each value is read once, in one launch, whatever the
// order in which values come and however small the buffer.
//
// Pruning finds the `keep`-th largest of the values held, digit by digit from the highest, by counting in shared memory
// how many have each digit; it becomes the bound. What is above it moves to the front.
//
// The order of the values in a buffer is that in which the threads come. When a buffer is pruned, and so the bound, may
// depend on it; the values of the ranks up to `keep` do not.
#pragma once

#include "arguments.hpp"
#include "format.cuh"
#include "team.cuh"

namespace pydissect::cuda {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;

// A block's shared memory.
struct SelectMemory {
  float bound[kMostGroup];
  int32_t fill[kMostGroup];  // beyond the capacity, where values are waiting for a place
  // How many values have a digit; then, how many have that digit or a higher one.
  uint32_t counts[2][kDigits];
  // Of the value sought: its digit, and how many have a higher one.
  uint32_t digit, higher;
  int32_t kept;
};

// Rising with the value; -0.0 comes just below 0.0.
PYDISSECT_INLINE uint32_t key_of(float value) {
  return static_cast<uint32_t>(order_of(value)) ^ 0x80000000u;
}

PYDISSECT_INLINE float value_of(uint32_t key) {
  return value_at(static_cast<int32_t>(key ^ 0x80000000u));
}

// The key of the `keep`-th largest of so many values.
template <class Team>
PYDISSECT_INLINE uint32_t find_level(const float* values, int count, int keep, SelectMemory& memory, const Team& team) {
  uint32_t level = 0;                         // the digits found so far
  uint32_t wanted = static_cast<uint32_t>(keep);  // it is the so many-th largest of the values that begin with these
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    team.each([&](int thread) {
      for (int digit = thread; digit < kDigits; digit += team.threads()) memory.counts[0][digit] = 0;
    });
    team.each([&](int thread) {
      for (int i = thread; i < count; i += team.threads()) {
        const uint32_t key = key_of(values[i]);
        if ((key ^ level) >> shift >> kDigitBits == 0) add_one(memory.counts[0][key >> shift & (kDigits - 1)]);
      }
    });
    int from = 0;
    for (int step = 1; step < kDigits; step *= 2, from ^= 1) {
      team.each([&](int thread) {
        for (int digit = thread; digit < kDigits; digit += team.threads()) {
          const uint32_t further = digit + step < kDigits ? memory.counts[from][digit + step] : 0;
          memory.counts[from ^ 1][digit] = memory.counts[from][digit] + further;
        }
      });
    }
    team.each([&](int thread) {
      for (int digit = thread; digit < kDigits; digit += team.threads()) {
        const uint32_t higher = digit + 1 < kDigits ? memory.counts[from][digit + 1] : 0;
        if (higher < wanted && wanted <= memory.counts[from][digit]) {
          memory.digit = digit;
          memory.higher = higher;
        }
      }
    });
    level |= memory.digit << shift;
    wanted -= memory.higher;
  }
  return level;
}

// Makes room in the full buffer of the block's unit number `unit`: `keep` values are left, the largest.
template <class Team>
PYDISSECT_INLINE void prune(const SelectArguments& arguments, float* values, int unit, SelectMemory& memory,
                            const Team& team) {
  constexpr int kAtOnce = 4;
  const int count = arguments.capacity, keep = arguments.keep;
  const uint32_t level = find_level(values, count, keep, memory, team);
  team.each([&](int thread) {
    if (thread == 0) memory.kept = 0;
  });
  for (int begin = 0; begin < count; begin += kAtOnce * team.threads()) {
    PerThread<float[kAtOnce]> read;
    team.each([&](int thread) {
      PYDISSECT_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        const int place = begin + i * team.threads() + thread;
        read[thread][i] = place < count ? values[place] : value_of(level);
      }
    });
    // No further than what has been read.
    team.each([&](int thread) {
      PYDISSECT_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        if (key_of(read[thread][i]) > level) values[take_places(memory.kept, 1)] = read[thread][i];
      }
    });
  }
  team.each([&](int thread) {
    // Of ties at the level, no more than are wanted.
    for (int i = memory.kept + thread; i < keep; i += team.threads()) values[i] = value_of(level);
    if (thread == 0) {
      memory.fill[unit] = keep;
      memory.bound[unit] = value_of(level);
    }
  });
}

// Where a thread is in the batch: the pieces of each image are numbered.
struct SelectCursor {
  int n;
  int piece;
};

template <Dtype kDtype, Order kOrder>
struct Selector {
  using Values = Format<kDtype>;
  static constexpr int kWide = Values::kWide;
  static constexpr int kAhead = 16 / kWide;  // loads of a thread that are under way at once; more do not fit registers
  static constexpr uint32_t kAll = (1u << kWide) - 1;

  // What a thread has read.
  struct Read {
    Wide pieces[kAhead];
    int first[kAhead];  // the place of a piece's first value in its run; that may lie outside, as the last one's may
    uint32_t waiting;   // kWide bits a piece: of the values that have not been put into a buffer or dropped
  };

  const SelectArguments& arguments;
  SelectMemory& memory;
  int64_t first_unit;
  int units;

  PYDISSECT_INLINE Selector(const SelectArguments& given, SelectMemory& shared, int64_t block)
      : arguments(given), memory(shared), first_unit(block * given.group) {
    const int64_t left = given.acts.units - first_unit;
    units = static_cast<int>(left < given.group ? left : given.group);
  }

  PYDISSECT_INLINE float* buffer(int unit) const {
    return arguments.values + (first_unit + unit) * arguments.capacity;
  }
  // That of a piece's value, in the block.
  PYDISSECT_INLINE int unit_of(const Read& read, int piece, int value) const {
    return kOrder == Order::units ? read.first[piece] + value : 0;
  }

  PYDISSECT_INLINE SelectCursor begin(int thread) const {
    return {thread / arguments.image_pieces, thread % arguments.image_pieces};
  }
  PYDISSECT_INLINE void advance(SelectCursor& cursor, const SelectCursor& step) const {
    cursor.n += step.n;
    cursor.piece += step.piece;
    if (cursor.piece >= arguments.image_pieces) {
      cursor.piece -= arguments.image_pieces;
      ++cursor.n;
    }
  }

  PYDISSECT_INLINE void load(const SelectCursor& cursor, int i, Read& read) const {
    const Acts& acts = arguments.acts;
    read.pieces[i] = {};
    if (cursor.n >= acts.images) return;
    const uint32_t run = arguments.run_pieces.quotient(cursor.piece);
    const uint32_t row = arguments.columns.quotient(run), column = run - row * arguments.columns.divisor;
    const int64_t run_begin = cursor.n * acts.stride_n + row * arguments.stride_row +
                              column * arguments.stride_column + first_unit * acts.stride_u;
    const uint8_t* bytes = static_cast<const uint8_t*>(acts.data) + run_begin * Values::kBytes;
    const int skew = static_cast<int>(reinterpret_cast<uint64_t>(bytes) % sizeof(Wide)) / Values::kBytes;
    const int number = cursor.piece - static_cast<int>(run * arguments.run_pieces.divisor);
    const int first = number * kWide - skew, length = kOrder == Order::units ? units : arguments.run;
    const int begin = first < 0 ? -first : 0, end = length - first < kWide ? length - first : kWide;
    if (begin >= end) return;
    const uint32_t inside = kAll << begin & kAll >> (kWide - end);
    read.first[i] = first;
    read.waiting |= inside << i * kWide;
    const uint8_t* address = bytes + static_cast<int64_t>(first) * Values::kBytes;
    const uint8_t* tensor_end = static_cast<const uint8_t*>(acts.end);
    if (address >= acts.data && address + sizeof(Wide) <= tensor_end) {
      read.pieces[i] = load_wide(address);
      return;
    }
    // At the ends of the tensor, beyond which nothing may be read.
    PYDISSECT_UNROLL
    for (int value = 0; value < kWide; ++value) {
      if (inside >> value & 1) Values::set(read.pieces[i], value, address + value * Values::kBytes);
    }
  }

  // Notes the values of a piece that are not finite, and drops them.
  PYDISSECT_INLINE void drop_nonfinite(int n, int i, Read& read) const {
    if (!Values::has_nonfinite(read.pieces[i])) return;
    PYDISSECT_UNROLL
    for (int value = 0; value < kWide; ++value) {
      const uint32_t bit = 1u << (i * kWide + value);
      if (!(read.waiting & bit) || !is_nonfinite(Values::value(read.pieces[i], value))) continue;
      lower_to(*arguments.first_nonfinite, n * arguments.acts.units + first_unit + unit_of(read, i, value));
      read.waiting &= ~bit;
    }
  }

  // Drops the values that are not above their unit's bound.
  PYDISSECT_INLINE void drop_low(Read& read) const {
    PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      PYDISSECT_UNROLL
      for (int value = 0; value < kWide; ++value) {
        const uint32_t bit = 1u << (i * kWide + value);
        if (kOrder == Order::units && !(read.waiting & bit)) continue;
        if (!(Values::value(read.pieces[i], value) > memory.bound[unit_of(read, i, value)])) read.waiting &= ~bit;
      }
    }
  }

  // Goes on to the next values.
  PYDISSECT_INLINE void next(SelectCursor& cursor, int threads, Read& read) const {
    const SelectCursor step = begin(threads);
    SelectCursor at = cursor;
    read.waiting = 0;
    PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i, advance(at, step)) load(at, i, read);
    PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i, advance(cursor, step)) drop_nonfinite(cursor.n, i, read);
    drop_low(read);
  }

  // Puts the waiting values into their buffers; returns whether some still wait, for a buffer is full.
  PYDISSECT_INLINE bool put(Read& read) const {
    if (read.waiting == 0) return false;
    int place = kOrder == Order::values ? take_places(memory.fill[0], count_bits(read.waiting)) : 0;
    PYDISSECT_UNROLL
    for (int i = 0; i < kAhead; ++i) {
      PYDISSECT_UNROLL
      for (int value = 0; value < kWide; ++value) {
        const uint32_t bit = 1u << (i * kWide + value);
        if (!(read.waiting & bit)) continue;
        const int unit = unit_of(read, i, value);
        if (kOrder == Order::units) place = take_places(memory.fill[unit], 1);
        if (place < arguments.capacity) {
          buffer(unit)[place] = Values::value(read.pieces[i], value);
          read.waiting &= ~bit;
        }
        ++place;
      }
    }
    return read.waiting != 0;
  }
};

template <Dtype kDtype, Order kOrder, class Team>
PYDISSECT_INLINE void select_units(const SelectArguments& arguments, int64_t block, SelectMemory& memory,
                                   const Team& team) {
  using Mine = Selector<kDtype, kOrder>;
  const Mine selector(arguments, memory, block);
  team.each([&](int thread) {
    for (int unit = thread; unit < selector.units; unit += team.threads()) {
      memory.bound[unit] = arguments.bound[selector.first_unit + unit];
      memory.fill[unit] = static_cast<int32_t>(arguments.fill[selector.first_unit + unit]);
    }
  });
  PerThread<SelectCursor> cursor;
  team.each([&](int thread) { cursor[thread] = selector.begin(thread); });
  const int64_t pieces = arguments.acts.images * arguments.image_pieces;
  for (int64_t done = 0; done < pieces; done += Mine::kAhead * team.threads()) {
    PerThread<typename Mine::Read> read;
    bool full = team.any([&](int thread) {
      selector.next(cursor[thread], team.threads(), read[thread]);
      return selector.put(read[thread]);
    });
    while (full) {
      for (int unit = 0; unit < selector.units; ++unit) {
        if (memory.fill[unit] > arguments.capacity) prune(arguments, selector.buffer(unit), unit, memory, team);
      }
      // All fills have been looked at before the first one grows again.
      team.each([&](int thread) { selector.drop_low(read[thread]); });
      full = team.any([&](int thread) { return selector.put(read[thread]); });
    }
  }
  team.each([&](int thread) {
    for (int unit = thread; unit < selector.units; unit += team.threads()) {
      arguments.bound[selector.first_unit + unit] = memory.bound[unit];
      arguments.fill[selector.first_unit + unit] = memory.fill[unit];
    }
  });
}

}  // namespace pydissect::cuda
