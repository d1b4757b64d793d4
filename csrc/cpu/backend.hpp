// The CPU backend's entry points: split the work over threads, hand each its memory and its level.
#pragma once

#include <cstdint>
#include <string>

#include "../core/job.hpp"
#include "../core/select.hpp"

namespace pydissect {

void count(const Acts& acts, const Masks& masks, const Geometry& geometry, const float* thresholds, int levels,
           bool nonfinite_off, int threads, const std::string& level_cap, Counters& counters);

void select(const Acts& acts, int threads, const std::string& level_cap, Selection& selection);

}  // namespace pydissect
