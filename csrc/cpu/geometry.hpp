// Regroups the sampling tables by source row and by 16-pixel word.
#pragma once

#include <vector>

#include "../core/count.hpp"
#include "backend.hpp"

namespace pydissect {

class GeometryTables {
 public:
  GeometryTables(const AxisTable& rows, const AxisTable& columns, int h, int w);
  const Geometry& view() const { return view_; }

 private:
  std::vector<int32_t> row_first_, first_, last_, left_, right_;
  std::vector<float> fraction_;
  std::vector<uint64_t> columns_;
  std::vector<uint16_t> lanes_;
  Geometry view_;
};

}  // namespace pydissect
