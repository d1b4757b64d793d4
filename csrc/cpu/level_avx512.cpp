#include "isa_avx512.hpp"
#include "levels.hpp"

namespace pydissect {

const Level& level_avx512() {
  static constexpr Level level = {"avx512", count<Avx512<false>>, select_part<Avx512<false>>};
  return level;
}

}  // namespace pydissect
