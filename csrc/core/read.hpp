// Reading memory and doing nothing else: the limit of what goes over activations once.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace pydissect {

using Wide32 = uint64_t __attribute__((vector_size(32)));
using Wide64 = uint64_t __attribute__((vector_size(64)));

// The sum of what is read, so that no load can be left out. A template over the instruction set, so that each reads
// with the widest loads it has: narrow ones keep fewer lines on their way from memory at once.
template <class Isa>
uint64_t sum_bytes(const unsigned char* begin, const unsigned char* end) {
  using Wide = std::conditional_t<sizeof(typename Isa::Lanes) == sizeof(Wide64), Wide64, Wide32>;
  Wide sums[4] = {};  // so that no addition waits for the last one
  const unsigned char* place = begin;
  for (; static_cast<uint64_t>(end - place) >= sizeof sums; place += sizeof sums) {
    for (int i = 0; i < 4; ++i) {
      Wide values;
      std::memcpy(&values, place + i * sizeof values, sizeof values);
      sums[i] += values;
    }
  }
  const Wide all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  uint64_t lanes[sizeof all / 8], total = 0;
  std::memcpy(lanes, &all, sizeof all);
  for (const uint64_t lane : lanes) total += lane;
  for (; place != end; ++place) total += *place;
  return total;
}

}  // namespace pydissect
