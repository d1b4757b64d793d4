#include "bandwidth.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

#include "level.hpp"

namespace pydissect {
double read_seconds(const void* data, int64_t bytes, int threads, int runs) {
  const auto* begin = static_cast<const unsigned char*>(data);
  const auto sum = best_level("").sum_bytes;
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
