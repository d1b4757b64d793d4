// Which instruction sets ("levels") the extension holds, by their names; their kernels are level.hpp's.
#pragma once

#include <string>
#include <vector>

namespace pydissect {

// All of them, best first.
std::vector<std::string> level_names();

// Those that this processor runs, best first.
std::vector<std::string> supported_level_names();

// The best one under a cap, as best_level (level.hpp) picks it.
std::string best_level_name(const std::string& cap);

}  // namespace pydissect
