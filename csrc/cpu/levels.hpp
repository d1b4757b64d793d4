// The instruction sets ("levels") that the extension holds, and the one place that picks among them.
#pragma once

#include <string>
#include <vector>

#include "../core/count.hpp"
#include "../core/select.hpp"

namespace pydissect {

struct Level {
  const char* name;
  decltype(&count_part<void>) count;
  decltype(&select_part<void>) select;
  decltype(&value_of_rank<void>) value_of_rank;
};

const Level& level_portable();
#if defined(__x86_64__)
const Level& level_avx2();
const Level& level_avx512();
#endif

// Those that this processor runs, best first.
std::vector<const Level*> supported_levels();

// The best level that this processor runs and that is not above `cap` ("avx512", "avx2", "portable"; "" is no
// cap); std::invalid_argument if there is no such name.
const Level& best_level(const std::string& cap);

}  // namespace pydissect
