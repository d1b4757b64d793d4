#include "isa_portable.hpp"
#include "level_of.hpp"

namespace pydissect {

const Level& level_portable() {
  static constexpr Level level = level_of<Portable>("portable");
  return level;
}

}  // namespace pydissect
