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

  // Which of 64 elements equal `value`, a bit each.
  template <class T>
  static uint64_t equal(const T* elements, T value) {
    uint8_t flags[64];
    for (int i = 0; i < 64; ++i) flags[i] = elements[i] == value;
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 8) {
      uint64_t eight;
      std::memcpy(&eight, flags + i, 8);
      // Moves the lowest bit of byte j to bit 56 + j; no two of the products' bits meet.
      bits |= (eight * 0x0102040810204080 >> 56) << i;
    }
    return bits;
  }
};

}  // namespace pydissect
