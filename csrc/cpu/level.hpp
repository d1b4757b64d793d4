// The kernels of an instruction set ("level").
#pragma once

#include <string>

#include "../core/count.hpp"
#include "../core/pack.hpp"
#include "../core/read.hpp"
#include "../core/select.hpp"
#include "../core/sift.hpp"

namespace pydissect {

struct Level {
  const char* name;
  decltype(&count<void>) count;
  decltype(&select_part<void>) select;
  decltype(&value_of_rank<void>) value_of_rank;
  decltype(&sift_image<void>) sift_image;
  decltype(&pack_bool_block<void>) pack_bool;
  decltype(&pack_label_image<void>) pack_labels;
  decltype(&sum_bytes<void>) sum_bytes;
};

const Level& level_portable();
#if defined(__x86_64__)
const Level& level_avx2();
const Level& level_avx512();
const Level& level_avx512_bitalg();
#endif

// The best level that this processor runs and that is not above the one of the name `cap` ("" is no cap);
// std::invalid_argument if there is no such name.
const Level& best_level(const std::string& cap);

}  // namespace pydissect
