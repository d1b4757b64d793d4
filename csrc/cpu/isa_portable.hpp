// The instruction set that every compiler has: GCC's and Clang's generic vectors and plain loops.
#pragma once

#include "../core/maps.hpp"

namespace pydissect {

struct Portable {
  typedef float Lanes __attribute__((vector_size(64)));
  typedef int32_t Flags __attribute__((vector_size(64)));

  static Lanes load(const float* source) {
    Lanes lanes;
    std::memcpy(&lanes, source, sizeof lanes);
    return lanes;
  }

  static Lanes broadcast(float value) { return Lanes{} + value; }

  static uint16_t greater(Lanes value, float threshold) {
    const Flags bit = {1,      2,      4,      8,      16,     32,     64,      128,
                       1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
    const Flags flags = (value > broadcast(threshold)) & bit;
    int32_t bits = 0;
    for (int i = 0; i < 16; ++i) bits |= flags[i];
    return static_cast<uint16_t>(bits);
  }

  static void gather(const float* base, int, const int32_t* left, const int32_t* right, Lanes& left_values,
                     Lanes& right_values) {
    for (int i = 0; i < 16; ++i) {
      left_values[i] = base[left[i]];
      right_values[i] = base[right[i]];
    }
  }

  static Scan scan(const float* map, int size, float threshold, uint64_t* bits) {
    uint64_t any = 0;
    uint32_t largest = 0;
    for (int begin = 0; begin < size; begin += 64) {
      const int count = std::min(size - begin, 64);
      uint64_t chunk = 0;
      for (int i = 0; i < count; ++i) {
        chunk |= static_cast<uint64_t>(map[begin + i] > threshold) << i;
        largest = std::max(largest, bits_of(map[begin + i]) & kMagnitude);
      }
      bits[begin / 64] = chunk;
      any |= chunk;
    }
    return {any != 0, largest >= kNonfinite};
  }

  template <Dtype kDtype>
  static void decode(const uint16_t* source, int size, float* out) {
    for (int i = 0; i < size; ++i) out[i] = Element<kDtype>::decode(source[i]);
  }

  static void add_popcounts(const uint16_t* table, const int32_t* places, const uint16_t* words, int count,
                            uint32_t* totals) {
    uint16_t sums[32] = {};
    for (int i = 0; i < count; ++i) {
      const uint16_t* row = table + static_cast<int64_t>(places[i]) * 32;
      for (int m = 0; m < 32; ++m) {
        uint16_t v = row[m] & words[i];
        v = static_cast<uint16_t>(v - ((v >> 1) & 0x5555));
        v = static_cast<uint16_t>((v & 0x3333) + ((v >> 2) & 0x3333));
        v = static_cast<uint16_t>((v + (v >> 4)) & 0x0f0f);
        sums[m] = static_cast<uint16_t>(sums[m] + ((v + (v >> 8)) & 0x1f));
      }
    }
    for (int m = 0; m < 32; ++m) totals[m] += sums[m];
  }

  template <Dtype kDtype>
  static int64_t append_above(const typename Element<kDtype>::Stored* values, int64_t count, float bound, float* out,
                              bool& nonfinite) {
    int64_t above = 0;
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float value = Element<kDtype>::decode(values[i]);
      largest = std::max(largest, bits_of(value) & kMagnitude);
      out[above] = value;
      above += (value > bound) & (value < kLeastNonfinite);
    }
    nonfinite = largest >= kNonfinite;
    return above;
  }

  static int64_t count_above(const float* values, int64_t count, float bound) {
    int64_t above = 0;
    for (int64_t i = 0; i < count; ++i) above += values[i] > bound;
    return above;
  }

  template <Dtype kDtype>
  static bool above_each(const typename Element<kDtype>::Stored* values, const float* bounds, int64_t count,
                         uint32_t* hits) {
    uint32_t largest = 0;
    for (int64_t begin = 0; begin < count; begin += 32) {
      uint32_t word = 0;
      for (int64_t i = begin; i < std::min(begin + 32, count); ++i) {
        const float value = Element<kDtype>::decode(values[i]);
        largest = std::max(largest, bits_of(value) & kMagnitude);
        word |= static_cast<uint32_t>(value > bounds[i]) << (i - begin);
      }
      hits[begin / 32] = word;
    }
    return largest >= kNonfinite;
  }
};

}  // namespace pydissect
