// The limit that the benchmarks compare with: how fast this machine reads memory.
#pragma once

#include <cstdint>

namespace pydissect {

// Seconds that `threads` threads take to read `bytes` bytes once, each a part of its own: the best of `runs`.
double read_seconds(const void* data, int64_t bytes, int threads, int runs);

}  // namespace pydissect
