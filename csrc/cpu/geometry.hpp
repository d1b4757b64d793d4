// Regroups the sampling tables by source row and by word.
#pragma once

#include <vector>

#include "../core/job.hpp"

namespace pydissect {

// Where the pixels of one axis read their source.
struct AxisTable {
  const int32_t* index;
  const float* fraction;
  int size;
};

class GeometryTables {
 public:
  GeometryTables(const AxisTable& rows, const AxisTable& columns, int h, int w);
  const Geometry& view() const { return view_; }

 private:
  void pair_rows(const AxisTable& rows);
  void group_columns(const AxisTable& columns);

  std::vector<RowPair> pairs_;
  std::vector<RowReaders> row_readers_;
  std::vector<Word> columns_;
  std::vector<uint64_t> column_readers_;
  std::vector<uint8_t> full_, empty_;
  Geometry view_;
};

}  // namespace pydissect
