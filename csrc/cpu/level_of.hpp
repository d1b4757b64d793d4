// The kernels of an instruction set; for the file that is compiled with its flags.
#pragma once

#include "../core/count.hpp"
#include "../core/pack.hpp"
#include "../core/read.hpp"
#include "../core/select.hpp"
#include "../core/sift.hpp"
#include "levels.hpp"

namespace pydissect {

template <class Isa>
constexpr Level level_of(const char* name) {
  return {name,
          count<Isa>,
          select_part<Isa>,
          value_of_rank<Isa>,
          sift_image<Isa>,
          pack_bool_block<Isa>,
          pack_label_image<Isa>,
          sum_bytes<Isa>};
}

}  // namespace pydissect
