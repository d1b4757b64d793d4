#include "isa_avx512.hpp"
#include "level_of.hpp"

namespace pydissect {

const Level& level_avx512_bitalg() {
  static constexpr Level level = level_of<Avx512<true>>("avx512-bitalg");
  return level;
}

}  // namespace pydissect
