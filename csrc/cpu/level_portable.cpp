#include "isa_portable.hpp"
#include "levels.hpp"

namespace pydissect {

const Level& level_portable() {
  static constexpr Level level = {"portable", count<Portable>, select_part<Portable>};
  return level;
}

}  // namespace pydissect
