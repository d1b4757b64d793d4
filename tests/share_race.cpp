// Threads that count parts as csrc/core/count.hpp does, and take over from each other; for a build with ThreadSanitizer.
// Prints how many parts were taken over. Fails if a map is counted twice or not at all, or added to counters that are not
// those of its unit and of the images that its part began with.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "../csrc/core/count.hpp"

using namespace pydissect;

namespace {

struct Round {
  Acts acts;
  int threads, image_parts;
  std::vector<char> counted;  // [N, U]
  std::vector<int64_t> sums;  // [image parts, U], as are counters: not atomic, so that two threads on one are a race
  std::vector<Counters> targets;
  std::vector<Share> shares;

  Round(const Acts& batch, int threads_, int image_parts_)
      : acts(batch),
        threads(threads_),
        image_parts(image_parts_),
        counted(acts.images * acts.units),
        sums(image_parts * acts.units),
        targets(image_parts),
        shares(threads) {
    for (int i = 0; i < image_parts; ++i) targets[i].intersection = sums.data() + i * acts.units;
  }

  bool count(Part part, const Counters& target, Share& share) {
    const int64_t block = acts.stride_u == 1 ? acts.units : 1;
    for (; part.image_begin < part.image_end; ++part.image_begin) {
      for (int64_t u0 = part.unit_begin; u0 < part.unit_end; u0 += block) {
        if (share.asked()) share.answer(give_half<void>(acts, part, u0));
        for (int64_t u = u0; u < std::min(u0 + block, part.unit_end); ++u) {
          if (counted[part.image_begin * acts.units + u]++) return false;
          ++target.intersection[u];
        }
        if ((u0 + part.image_begin) % 7 == 0) std::this_thread::yield();
      }
    }
    return true;
  }

  // Whether all went well; adds to the number of parts taken.
  bool run(std::atomic<int>& taken) {
    std::atomic<bool> well = true;
    const int unit_parts = threads / image_parts;
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i) {
      running.emplace_back([&, i] {
        const auto count_and_share = [&](const Part& part, const Counters& target) {
          shares[i].open(target);
          if (!count(part, target, shares[i])) well = false;
          shares[i].close();
        };
        const int64_t u = i % unit_parts, n = i / unit_parts;
        if (n < image_parts) {
          count_and_share({acts.images * n / image_parts, acts.images * (n + 1) / image_parts,
                           acts.units * u / unit_parts, acts.units * (u + 1) / unit_parts},
                          targets[n]);
        }
        Request request;
        for (; Share::take(shares, request); ++taken) count_and_share(request.part, *request.counters);
      });
    }
    for (std::thread& thread : running) thread.join();
    for (int n = 0; n < image_parts; ++n) {
      const int64_t images = acts.images * (n + 1) / image_parts - acts.images * n / image_parts;
      for (int64_t u = 0; u < acts.units; ++u) well = well && targets[n].intersection[u] == images;
    }
    return well;
  }
};

}  // namespace

int main(int, char** arguments) {
  const int rounds = std::atoi(arguments[1]);
  std::atomic<int> taken = 0;
  for (int i = 0; i < rounds; ++i) {
    Acts acts = {};
    acts.images = 50 * (1 + i % 5);
    acts.units = i % 90;
    acts.stride_u = i % 3 == 0 ? 1 : 49;
    if (acts.stride_u == 1) acts.units *= 8;
    const int threads = 2 + i % 7;
    if (!Round(acts, threads, 1 + i % 2).run(taken)) return EXIT_FAILURE;
  }
  std::printf("%d\n", taken.load());
  return EXIT_SUCCESS;
}
