// Rows of bits: reading some of them, and transposing them.
#pragma once

#include <cstdint>

namespace pydissect {

// The bits begin .. begin + count (1 to 64) of a row of bits, of which a word beyond is readable.
template <class Isa>
inline __attribute__((always_inline)) uint64_t bits_at(const uint64_t* bits, int64_t begin, int count) {
  const int shift = begin & 63;
  const uint64_t low = bits[begin >> 6] >> shift;
  const uint64_t high = bits[(begin >> 6) + 1] << 1 << (63 - shift);
  return (low | high) & (~uint64_t{0} >> (64 - count));
}

// Are any of the bits begin .. end (exclusive) set?
template <class Isa>
bool any_bit(const uint64_t* bits, int64_t begin, int64_t end) {
  for (; begin + 64 < end; begin += 64) {
    if (bits_at<Isa>(bits, begin, 64)) return true;
  }
  return begin < end && bits_at<Isa>(bits, begin, static_cast<int>(end - begin));
}

// Transposes 32 x 32 bits: bit j of rows[i] becomes bit i of rows[j].
template <class Isa>
void transpose_bits(uint32_t rows[32]) {
  uint32_t low = 0x0000ffffu;
  for (int width = 16; width; width >>= 1, low ^= low << width) {
    for (int i = 0; i < 32; i = ((i | width) + 1) & ~width) {
      const uint32_t swap = ((rows[i] >> width) ^ rows[i | width]) & low;
      rows[i] ^= swap << width;
      rows[i | width] ^= swap;
    }
  }
}

}  // namespace pydissect
