// The CPU backend's entry points: split the work over threads, hand each its memory and its level.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../core/job.hpp"
#include "../core/select.hpp"

namespace pydissect {

void count(const Acts& acts, const Masks& masks, const Geometry& geometry, const float* thresholds, int levels,
           bool nonfinite_off, int threads, const std::string& level_cap, Counters& counters);

void select(const Acts& acts, int threads, const std::string& level_cap, Selection& selection);

// values [ranks, units]: the (k + 1)-th largest that each unit holds, for each rank k.
void values_of_ranks(const Selection& selection, int64_t units, const std::vector<int64_t>& ranks, int threads,
                     const std::string& level_cap, float* values);

}  // namespace pydissect
