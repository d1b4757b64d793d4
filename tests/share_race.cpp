// Threads that count parts as csrc/core/count.hpp does, a unit a block, and take over from each other; for a build with
// ThreadSanitizer. Fails if a map is counted twice or not at all.
#include <cstdlib>
#include <thread>
#include <vector>

#include "../csrc/core/count.hpp"

using namespace pydissect;

namespace {

void count_part(const Acts& acts, Part part, int64_t* counted, Share& share) {
  for (; part.image_begin < part.image_end; ++part.image_begin) {
    for (int64_t u = part.unit_begin; u < part.unit_end; ++u) {
      if (share.asked()) {
        share.answer(give_half<void>(acts, part, u));
        if (u == part.unit_end) break;
      }
      ++counted[u];  // not atomic: two threads on one unit are a race
      if ((u + part.image_begin) % 7 == 0) std::this_thread::yield();
    }
  }
}

bool round(int threads, int64_t images, int64_t units) {
  Acts acts = {};
  acts.images = images;
  acts.units = units;
  std::vector<int64_t> counted(units);
  Counters counters = {};
  counters.intersection = counted.data();
  std::vector<Share> shares(threads);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      const auto count = [&](const Part& part, const Counters& target) {
        shares[i].open(target);
        count_part(acts, part, target.intersection, shares[i]);
        shares[i].close();
      };
      count({0, images, units * i / threads, units * (i + 1) / threads}, counters);
      Request request;
      while (Share::take(shares, request)) count(request.part, *request.counters);
    });
  }
  for (std::thread& thread : running) thread.join();
  for (const int64_t count : counted) {
    if (count != images) return false;
  }
  return true;
}

}  // namespace

int main(int, char** arguments) {
  const int rounds = std::atoi(arguments[1]);
  for (int i = 0; i < rounds; ++i) {
    if (!round(2 + i % 7, 50 * (1 + i % 5), i % 90)) return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
