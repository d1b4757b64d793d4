#include "levels.hpp"

#include <stdexcept>

#include "level.hpp"

namespace pydissect {
namespace {

struct Candidate {
  const char* name;
  const Level* level;  // null where the build or the processor lacks it
};

// Best first.
std::vector<Candidate> candidates() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bitalg = avx512 && __builtin_cpu_supports("avx512bitalg");
  return {{"avx512-bitalg", bitalg ? &level_avx512_bitalg() : nullptr},
          {"avx512", avx512 ? &level_avx512() : nullptr},
          {"avx2", avx2 ? &level_avx2() : nullptr},
          {"portable", &level_portable()}};
#else
  return {{"avx512-bitalg", nullptr}, {"avx512", nullptr}, {"avx2", nullptr}, {"portable", &level_portable()}};
#endif
}

}  // namespace

std::vector<std::string> level_names() {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates()) names.emplace_back(candidate.name);
  return names;
}

std::vector<std::string> supported_level_names() {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates()) {
    if (candidate.level) names.emplace_back(candidate.name);
  }
  return names;
}

std::string best_level_name(const std::string& cap) { return best_level(cap).name; }

const Level& best_level(const std::string& cap) {
  bool allowed = cap.empty();
  for (const Candidate& candidate : candidates()) {
    allowed = allowed || cap == candidate.name;
    if (allowed && candidate.level) return *candidate.level;
  }
  throw std::invalid_argument("expected the name of a level, found '" + cap + "'");
}

}  // namespace pydissect
