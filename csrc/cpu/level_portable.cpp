#include <algorithm>

#include "isa_portable.hpp"
#include "levels.hpp"

#include "../core/count.hpp"
#include "../core/select.hpp"

namespace pydissect {

const Level& level_portable() {
  static constexpr Level level = {"portable", count_part<Portable>, select_part<Portable>, value_of_rank<Portable>};
  return level;
}

}  // namespace pydissect
