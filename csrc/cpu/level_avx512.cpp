#include "isa_avx512.hpp"
#include "level_of.hpp"

namespace pydissect {

const Level& level_avx512() {
  static constexpr Level level = level_of<Avx512<false>>("avx512");
  return level;
}

}  // namespace pydissect
