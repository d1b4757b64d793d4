// Exact streaming selection: per unit, the values that can still be among the `keep` largest.
//
// A unit's buffer holds every value seen above its bound, and, once it has a bound, at least
// `keep` values that are no smaller: so nothing at or below the bound matters to the result.
// A full buffer is pruned: the bound rises to a level with about `keep` values above it.
//
// An instruction set gives three functions:
// - append_above<kDtype>(values, count, bound, out, nonfinite) packs the values above the bound and below 2^126, in
//   their order, into `out`, and returns how many there are. It may write up to kAppendPadding places beyond them.
//   `out` may be `values`.
// - count_above(values, count, bound) returns how many there are.
// - above_each<kDtype>(values, bounds, count, hits) sets bit i of `hits`, 32 a word, where values[i] > bounds[i],
//   and returns whether one of the values is non-finite.
#pragma once

#include <algorithm>

#include "maps.hpp"

namespace pydissect {

constexpr float kInfinity = __builtin_inff();

constexpr int kAppendPadding = 16;

// Of a buffer's values, how many are looked at to guess a level.
constexpr int kSample = 128;
// From a float to its double, in places of the order of floats.
constexpr int64_t kOctave = 1 << 23;
constexpr int64_t kStepGrowth = 64;

struct Selection {
  float* values;            // [U, capacity]
  int64_t* fill;            // [U] values held
  float* bound;             // [U]
  int64_t capacity;         // at least keep + 256
  int64_t keep;
  int64_t first_nonfinite;  // smallest n * U + u, or INT64_MAX

  // As many as a pruned buffer may hold: few enough that prunes stay rare, and more than
  // `keep` by enough that a guessed level falls between the two.
  int64_t most_kept() const { return keep + (capacity - keep) / 4; }
};

// A level, and how many values lie above it.
struct Cut {
  float level;
  int64_t above;
};

// A level with `least` to `most` of the values above it. Where there is none, for ties or because `least` is
// `most + 1`, it is the (most + 1)-th largest value, with fewer than `least` above it. There must be more than `most`
// values, all finite.
//
// The search bisects the order of all floats, from a guess outwards in steps that grow: it takes some
// 40 counts at worst, whatever the values.
template <class Isa>
Cut find_cut(const float* values, int64_t count, int64_t least, int64_t most, float guess, int64_t step) {
  int64_t low = order_of(-kInfinity), high = order_of(kLeastNonfinite), place = order_of(guess);
  int64_t above_high = 0;
  while (true) {
    const int64_t above = Isa::count_above(values, count, value_at(place));
    if (above >= least && above <= most) return {value_at(place), above};
    const bool rise = above > most;
    if (rise) {
      low = place;
    } else {
      high = place;
      above_high = above;
    }
    const int64_t middle = low + (high - low) / 2;
    if (middle == low) return {value_at(high), above_high};
    place = rise ? std::min(low + step, middle) : std::max(high - step, middle);
    step = std::min(step * kStepGrowth, high - low);
  }
}

// Raises the bound and drops what is no longer above it. Returns how many values are left,
// `keep` to `most_kept()`. The buffer must hold more than that.
template <class Isa>
__attribute__((noinline)) int64_t prune(Selection& selection, int64_t u) {
  float* values = selection.values + u * selection.capacity;
  const int64_t fill = selection.fill[u], keep = selection.keep, most = selection.most_kept();

  float sample[kSample];
  const int64_t stride = fill / kSample;
  for (int i = 0; i < kSample; ++i) sample[i] = values[i * stride + stride / 2];
  const int64_t rank = kSample * (keep + most) / (2 * fill);
  const Cut guess = find_cut<Isa>(sample, kSample, rank - 2, rank + 2, selection.bound[u], kOctave / 8);

  // If the guess is a tie, the level sought may be its neighbour, so start with the smallest step.
  const Cut cut = find_cut<Isa>(values, fill, keep, most, guess.level, 1);
  bool nonfinite;
  int64_t kept = Isa::template append_above<Dtype::f32>(values, fill, cut.level, values, nonfinite);
  // Of ties at the level, no more than are wanted.
  for (; kept < keep; ++kept) values[kept] = cut.level;
  selection.bound[u] = cut.level;
  return kept;
}

// Adds a map of unit u; returns whether it has a non-finite value.
template <class Isa, Dtype kDtype>
bool add_map(const typename Element<kDtype>::Stored* map, int size, Selection& selection, int64_t u) {
  float* values = selection.values + u * selection.capacity;
  bool any_nonfinite = false;
  for (int begin = 0; begin < size;) {
    int64_t room = selection.capacity - kAppendPadding - selection.fill[u];
    // Not down to the last place: a few values at a time would not fill vectors.
    if (room < std::min(size - begin, 64)) {
      selection.fill[u] = prune<Isa>(selection, u);
      room = selection.capacity - kAppendPadding - selection.fill[u];
    }
    const int count = static_cast<int>(std::min<int64_t>(size - begin, room));
    // From -2^126 down there are only non-finite values.
    const float bound = std::max(selection.bound[u], -kLeastNonfinite);
    bool nonfinite;
    selection.fill[u] +=
        Isa::template append_above<kDtype>(map + begin, count, bound, values + selection.fill[u], nonfinite);
    any_nonfinite |= nonfinite;
    begin += count;
  }
  return any_nonfinite;
}

// Two maps ahead: the processor's own prefetching starts anew with every page. Inlined by force: to GCC 12 a function that
// only prefetches has no effect, and it may drop the calls.
template <class Isa, class Stored>
__attribute__((always_inline)) inline void prefetch_map(const Stored* map, int size) {
  const char* begin = reinterpret_cast<const char*>(map);
  for (const char* line = begin; line < begin + size * sizeof(Stored); line += 64) __builtin_prefetch(line);
}

template <class Isa, Dtype kDtype>
void select_maps(const Acts& acts, const Part& part, Selection& selection) {
  using Stored = typename Element<kDtype>::Stored;
  for (int64_t n = part.image_begin; n < part.image_end; ++n) {
    const Stored* image = static_cast<const Stored*>(acts.data) + n * acts.stride_n;
    for (int64_t u = part.unit_begin; u < part.unit_end; ++u) {
      if (u + 2 < part.unit_end) prefetch_map<Isa>(image + (u + 2) * acts.stride_u, acts.h * acts.w);
      if (add_map<Isa, kDtype>(image + u * acts.stride_u, acts.h * acts.w, selection, u)) {
        selection.first_nonfinite = std::min(selection.first_nonfinite, n * acts.units + u);
      }
    }
  }
}

// Adds one value of each of the units part.unit_begin .. part.unit_end, that lie side by side; returns whether one is
// non-finite.
template <class Isa, Dtype kDtype>
bool add_pixel(const typename Element<kDtype>::Stored* pixel, const Part& part, uint32_t* hits, Selection& selection) {
  const int64_t units = part.unit_end - part.unit_begin;
  const bool nonfinite = Isa::template above_each<kDtype>(pixel, selection.bound + part.unit_begin, units, hits);
  for (int64_t begin = 0; begin < units; begin += 32) {
    for (uint32_t bits = hits[begin / 32]; bits; bits &= bits - 1) {
      const int64_t i = begin + __builtin_ctz(bits), u = part.unit_begin + i;
      const float value = Element<kDtype>::decode(pixel[i]);
      if (is_nonfinite(value)) continue;
      selection.values[u * selection.capacity + selection.fill[u]++] = value;
      if (selection.fill[u] == selection.capacity - kAppendPadding) selection.fill[u] = prune<Isa>(selection, u);
    }
  }
  return nonfinite;
}

// Any strides: maps are copied to scratch [h * w].
template <class Isa, Dtype kDtype>
void select_copies(const Acts& acts, const Part& part, float* scratch, Selection& selection) {
  using Stored = typename Element<kDtype>::Stored;
  for (int64_t n = part.image_begin; n < part.image_end; ++n) {
    for (int64_t u = part.unit_begin; u < part.unit_end; ++u) {
      const Stored* map = static_cast<const Stored*>(acts.data) + n * acts.stride_n + u * acts.stride_u;
      const Block<Stored> block = {map, u, 1, acts.stride_u, acts.stride_y, acts.stride_x};
      copy_map<Isa, kDtype>(block, 0, acts.h, acts.w, scratch);
      if (add_map<Isa, Dtype::f32>(scratch, acts.h * acts.w, selection, u)) {
        selection.first_nonfinite = std::min(selection.first_nonfinite, n * acts.units + u);
      }
    }
  }
}

// Units side by side (channels-last, or one value a map): values are compared in the order of memory, a vector of
// them with a vector of bounds.
template <class Isa, Dtype kDtype>
void select_pixels(const Acts& acts, const Part& part, uint32_t* hits, Selection& selection) {
  using Stored = typename Element<kDtype>::Stored;
  for (int64_t n = part.image_begin; n < part.image_end; ++n) {
    const Stored* image = static_cast<const Stored*>(acts.data) + n * acts.stride_n;
    for (int y = 0; y < acts.h; ++y) {
      for (int x = 0; x < acts.w; ++x) {
        const Stored* pixel = image + y * acts.stride_y + x * acts.stride_x + part.unit_begin;
        if (!add_pixel<Isa, kDtype>(pixel, part, hits, selection)) continue;
        int64_t u = part.unit_begin;
        while (!is_nonfinite(Element<kDtype>::decode(pixel[u - part.unit_begin]))) ++u;
        selection.first_nonfinite = std::min(selection.first_nonfinite, n * acts.units + u);
      }
    }
  }
}

template <class Isa, Dtype kDtype>
void select_as(const Acts& acts, const Part& part, float* scratch, uint32_t* hits, Selection& selection) {
  if (acts.stride_u == 1 && acts.units > 1) return select_pixels<Isa, kDtype>(acts, part, hits, selection);
  const bool map_contiguous = (acts.stride_x == 1 || acts.w == 1) && (acts.stride_y == acts.w || acts.h == 1);
  if (map_contiguous) return select_maps<Isa, kDtype>(acts, part, selection);
  select_copies<Isa, kDtype>(acts, part, scratch, selection);
}

// Adds the share `part` of a batch; scratch [h * w], hits [units / 32, rounded up].
template <class Isa>
void select_part(const Acts& acts, const Part& part, float* scratch, uint32_t* hits, Selection& selection) {
  switch (acts.dtype) {
    case Dtype::f32:
      return select_as<Isa, Dtype::f32>(acts, part, scratch, hits, selection);
    case Dtype::f16:
      return select_as<Isa, Dtype::f16>(acts, part, scratch, hits, selection);
    case Dtype::bf16:
      return select_as<Isa, Dtype::bf16>(acts, part, scratch, hits, selection);
  }
}

// The (k + 1)-th largest of the values that unit u holds, or -inf where it holds fewer.
template <class Isa>
float value_of_rank(const Selection& selection, int64_t u, int64_t k) {
  const int64_t fill = selection.fill[u];
  if (fill <= k) return -kInfinity;
  const float* values = selection.values + u * selection.capacity;
  return find_cut<Isa>(values, fill, k + 1, k, selection.bound[u], kOctave / 8).level;
}

}  // namespace pydissect
