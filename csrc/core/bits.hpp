// Transposing bits.
#pragma once

#include <cstdint>

namespace pydissect {

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
