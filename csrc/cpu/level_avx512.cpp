#include <algorithm>

#include "isa_avx512.hpp"
#include "levels.hpp"

#include "../core/count.hpp"
#include "../core/select.hpp"

namespace pydissect {

const Level& level_avx512() {
  static constexpr Level level = {"avx512", count_part<Avx512>, select_part<Avx512>, value_of_rank<Avx512>};
  return level;
}

}  // namespace pydissect
