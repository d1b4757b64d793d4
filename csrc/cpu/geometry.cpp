#include "geometry.hpp"

#include <algorithm>
#include <limits>

namespace pydissect {

GeometryTables::GeometryTables(const AxisTable& rows, const AxisTable& columns, int h, int w) {
  const int row_bytes = (columns.size + 15) / 16 * 2;
  const int usual = (rows.size + h - 1) / h;
  std::vector<size_t> begins;
  for (int64_t y = 0; y < h; ++y) {
    const auto [begin, end] = std::equal_range(rows.index, rows.index + rows.size, y);
    const int count = static_cast<int>(end - begin), padded = count ? std::max(count, usual) : 0;
    begins.push_back(row_fraction_.size());
    row_fraction_.insert(row_fraction_.end(), rows.fraction + (begin - rows.index), rows.fraction + (end - rows.index));
    row_fraction_.resize(begins.back() + padded + kRowPair - 1, std::numeric_limits<float>::quiet_NaN());
    rows_.push_back({y * w, std::min<int64_t>(y + 1, h - 1) * w, (begin - rows.index) * row_bytes, nullptr, padded});
  }
  for (int y = 0; y < h; ++y) rows_[y].fractions = row_fraction_.data() + begins[y];
  const int words = (columns.size + kWord - 1) / kWord, word_masks = (words + 63) / 64;
  readers_.assign(static_cast<size_t>(w) * word_masks, 0);
  bool narrow = true;
  for (int number = 0; number < words; ++number) {
    const int begin = number * kWord, count = std::min(columns.size - begin, kWord);
    Word word = {};
    word.first = columns.index[begin];
    for (int i = 0; i < count; ++i) {
      const int left = columns.index[begin + i], right = std::min(left + 1, w - 1);
      word.left[i] = left - word.first;
      word.right[i] = right - word.first;
      word.fraction[i] = columns.fraction[begin + i];
      word.columns = word.right[i] + 1;
      for (int x = left; x <= right; ++x) readers_[x * word_masks + number / 64] |= uint64_t{1} << number % 64;
    }
    narrow = narrow && word.columns <= 8;
    columns_.push_back(word);
  }
  view_.h = h;
  view_.w = w;
  view_.H = rows.size;
  view_.W = columns.size;
  view_.words = words;
  view_.row_bytes = row_bytes;
  view_.word_masks = word_masks;
  view_.narrow = narrow;
  view_.w_reciprocal = (uint64_t{1} << 63) / w + 1;
  view_.rows = rows_.data();
  view_.columns = columns_.data();
  view_.readers = readers_.data();
}

}  // namespace pydissect
