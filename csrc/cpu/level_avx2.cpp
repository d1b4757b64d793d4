#include "isa_avx2.hpp"
#include "level_of.hpp"

namespace pydissect {

const Level& level_avx2() {
  static constexpr Level level = level_of<Avx2>("avx2");
  return level;
}

}  // namespace pydissect
