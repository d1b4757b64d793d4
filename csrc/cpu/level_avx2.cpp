#include "isa_avx2.hpp"
#include "levels.hpp"

namespace pydissect {

const Level& level_avx2() {
  static constexpr Level level = {"avx2", count<Avx2>, select_part<Avx2>};
  return level;
}

}  // namespace pydissect
