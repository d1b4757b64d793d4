#include "geometry.hpp"

#include <algorithm>
#include <limits>

namespace pydissect {

constexpr float kNoPixels = std::numeric_limits<float>::quiet_NaN();

GeometryTables::GeometryTables(const AxisTable& rows, const AxisTable& columns, int h, int w) : view_{} {
  view_.h = h;
  view_.w = w;
  view_.H = rows.size;
  view_.W = columns.size;
  view_.words = (columns.size + kWord - 1) / kWord;
  view_.row_bytes = (columns.size + 15) / 16 * 2;
  view_.word_masks = (view_.words + 63) / 64;
  while (view_.words > 1 << view_.word_bits) ++view_.word_bits;
  view_.w_reciprocal = (uint64_t{1} << 63) / w + 1;
  pair_rows(rows);
  group_columns(columns);
  const size_t places = static_cast<size_t>(rows.size) * view_.row_bytes;
  empty_.assign(places, 0);
  full_.resize(places);
  for (size_t place = 0; place < places; ++place) {
    const int pixels = std::clamp(columns.size - static_cast<int>(place % view_.row_bytes) * kWord, 0, kWord);
    full_[place] = static_cast<uint8_t>((1u << pixels) - 1);
  }
  view_.full = full_.data();
  view_.empty = empty_.data();
}

void GeometryTables::pair_rows(const AxisTable& rows) {
  const int h = view_.h;
  std::vector<int64_t> first_pair;  // of each source row, and of none
  for (int64_t y = 0; y < h; ++y) {
    first_pair.push_back(static_cast<int64_t>(pairs_.size()));
    const auto [begin, end] = std::equal_range(rows.index, rows.index + rows.size, y);
    for (const int32_t* row = begin; row < end; row += kRowPair) {
      const int64_t number = row - rows.index;
      RowPair pair = {};
      pair.row = y;
      pair.top = y * view_.w;
      pair.bottom = std::min<int64_t>(y + 1, h - 1) * view_.w;
      pair.place = static_cast<uint64_t>(number * view_.row_bytes) << 32;
      for (int i = 0; i < kRowPair; ++i) {
        std::fill_n(pair.fractions + i * kWord, kWord, row + i < end ? rows.fraction[number + i] : kNoPixels);
      }
      pairs_.push_back(pair);
    }
  }
  first_pair.push_back(static_cast<int64_t>(pairs_.size()));
  int64_t most = 0;
  for (int y = 0; y < h; ++y) most = std::max(most, first_pair[y + 1] - first_pair[std::max(y - 1, 0)]);
  view_.reader_groups = static_cast<int>((most + kReaders - 1) / kReaders);
  for (int y = 0; y < h; ++y) {
    for (int group = 0; group < view_.reader_groups; ++group) {
      RowReaders readers = {};
      const int64_t first = first_pair[std::max(y - 1, 0)] + group * kReaders;
      if (first < first_pair[y + 1]) readers.first = first;
      readers.up = y > 0 ? view_.w : 0;
      readers.down = y < h - 1 ? view_.w : 0;
      for (int i = 0; i < kReaders; ++i) {
        const bool reads = first + i < first_pair[y + 1];
        readers.above[i] = reads && pairs_[first + i].row < y ? -1 : 0;
        for (int j = 0; j < kRowPair; ++j) {
          readers.fractions[j][i] = reads ? pairs_[first + i].fractions[j * kWord] : kNoPixels;
        }
      }
      row_readers_.push_back(readers);
    }
  }
  view_.pair_count = static_cast<int64_t>(pairs_.size());
  view_.pairs = pairs_.data();
  view_.row_readers = row_readers_.data();
}

void GeometryTables::group_columns(const AxisTable& columns) {
  const int w = view_.w, word_masks = view_.word_masks;
  column_readers_.assign(static_cast<size_t>(w) * word_masks, 0);
  view_.narrow = true;
  for (int number = 0; number < view_.words; ++number) {
    const int begin = number * kWord, count = std::min(columns.size - begin, kWord), first = columns.index[begin];
    Word word = {};
    word.first = first;
    word.place = static_cast<uint64_t>(number) << 32;
    for (int i = 0; i < count; ++i) {
      const int left = columns.index[begin + i], right = std::min(left + 1, w - 1);
      word.left[i] = left - first;
      word.right[i] = right - first;
      word.fraction[i] = columns.fraction[begin + i];
      view_.narrow = view_.narrow && right - first < kWord;
      for (int x = left; x <= right; ++x) column_readers_[x * word_masks + number / 64] |= uint64_t{1} << number % 64;
    }
    for (int i = 0; i < kWord; ++i) {
      word.left[kWord + i] = word.left[i] + kWord;
      word.right[kWord + i] = word.right[i] + kWord;
      word.fraction[kWord + i] = word.fraction[i];
    }
    columns_.push_back(word);
  }
  view_.columns = columns_.data();
  view_.column_readers = column_readers_.data();
}

}  // namespace pydissect
