#include <algorithm>

#include "isa_avx2.hpp"
#include "levels.hpp"

#include "../core/count.hpp"
#include "../core/select.hpp"

namespace pydissect {

const Level& level_avx2() {
  static constexpr Level level = {"avx2", count_part<Avx2>, select_part<Avx2>, value_of_rank<Avx2>};
  return level;
}

}  // namespace pydissect
