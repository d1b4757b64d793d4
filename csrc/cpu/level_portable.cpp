#include <algorithm>

#include "isa_portable.hpp"
#include "levels.hpp"

#include "../core/count.hpp"
#include "../core/pack.hpp"
#include "../core/select.hpp"

namespace pydissect {

const Level& level_portable() {
  static constexpr Level level = {"portable", count_part<Portable>, select_part<Portable>, pack_bool_block<Portable>,
                                  pack_label_image<Portable>};
  return level;
}

}  // namespace pydissect
