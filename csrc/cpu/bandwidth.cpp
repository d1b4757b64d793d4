#include "bandwidth.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

namespace pydissect {
namespace {

// Unaligned and may alias: the buffer holds values of any type.
using Wide = std::uint64_t __attribute__((vector_size(32), aligned(1), may_alias));

// Four sums, so that no addition waits for the last one; the caller keeps the result alive, so that no load is dropped.
std::uint64_t sum(const unsigned char* begin, const unsigned char* end) {
  Wide sums[4] = {};
  const unsigned char* place = begin;
  for (; end - place >= static_cast<std::ptrdiff_t>(sizeof sums); place += sizeof sums) {
    const Wide* values = reinterpret_cast<const Wide*>(place);
    for (int i = 0; i < 4; ++i) sums[i] += values[i];
  }
  const Wide all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  std::uint64_t total = all[0] + all[1] + all[2] + all[3];
  for (; place != end; ++place) total += *place;
  return total;
}

}  // namespace

double read_seconds(const void* data, int64_t bytes, int threads, int runs) {
  const auto* begin = static_cast<const unsigned char*>(data);
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < runs; ++run) {
    std::uint64_t total = 0;
    const auto start = std::chrono::steady_clock::now();
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : total)
    for (int part = 0; part < threads; ++part) {
      total += sum(begin + bytes * part / threads, begin + bytes * (part + 1) / threads);
    }
    asm volatile("" : : "r"(total));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::min(best, elapsed.count());
  }
  return best;
}

}  // namespace pydissect
