#include "isa_avx512.hpp"
#include "levels.hpp"

namespace pydissect {

const Level& level_avx512_bitalg() {
  static constexpr Level level = {"avx512-bitalg", count<Avx512<true>>, select_part<Avx512<true>>};
  return level;
}

}  // namespace pydissect
