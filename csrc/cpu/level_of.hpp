// Makes a Level of an instruction set's description; for the file that is compiled with its flags.
#pragma once

#include "level.hpp"

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
