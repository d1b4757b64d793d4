#include "geometry.hpp"

#include <algorithm>

namespace pydissect {

GeometryTables::GeometryTables(const AxisTable& rows, const AxisTable& columns, int h, int w) {
  row_first_.reserve(h + 1);
  for (int y = 0; y <= h; ++y) {
    row_first_.push_back(static_cast<int32_t>(std::lower_bound(rows.index, rows.index + rows.size, y) - rows.index));
  }
  const int words = (columns.size + kWord - 1) / kWord;
  left_.assign(words * kWord, 0);
  right_.assign(words * kWord, 0);
  fraction_.assign(words * kWord, 0.0f);
  for (int word = 0; word < words; ++word) {
    const int begin = word * kWord, count = std::min(columns.size - begin, kWord);
    const int first = columns.index[begin];
    for (int i = 0; i < count; ++i) {
      left_[begin + i] = columns.index[begin + i] - first;
      right_[begin + i] = std::min(columns.index[begin + i] + 1, w - 1) - first;
      fraction_[begin + i] = columns.fraction[begin + i];
    }
    first_.push_back(first);
    last_.push_back(first + right_[begin + count - 1]);
    if (w <= 64) {
      const uint64_t up_to_last = ~uint64_t{0} >> (63 - last_.back());
      columns_.push_back(up_to_last & ~uint64_t{0} << first);
    }
    lanes_.push_back(static_cast<uint16_t>((1u << count) - 1));
  }
  view_ = {rows.size,        columns.size,  words,         row_first_.data(), rows.fraction,    first_.data(),
           last_.data(),     columns_.data(), left_.data(), right_.data(),     fraction_.data(), lanes_.data()};
}

}  // namespace pydissect
