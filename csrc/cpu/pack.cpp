#include "pack.hpp"

#include <algorithm>
#include <numeric>

namespace pydissect {
namespace {

constexpr int kWordBits = 16;

int words_a_row(int W) { return (W + kWordBits - 1) / kWordBits; }

}  // namespace

PackedImage pack_labels(const int32_t* labels, int layers, int H, int W, const int32_t* lookup, int64_t lookup_size) {
  const int words = words_a_row(W);
  const int64_t places = static_cast<int64_t>(H) * words;
  PackedImage image;
  std::vector<int32_t> slots;  // concept -> its bitmap
  std::vector<int32_t> concepts;
  std::vector<uint16_t> bitmaps;
  for (int64_t row = 0; row < static_cast<int64_t>(layers) * H; ++row) {
    const int32_t* line = labels + row * W;
    for (int word = 0; word < words; ++word) {
      const int begin = word * kWordBits, end = std::min(W, begin + kWordBits);
      for (int x = begin; x < end;) {
        const int32_t label = line[x];
        uint16_t bits = 0;
        for (; x < end && line[x] == label; ++x) bits = static_cast<uint16_t>(bits | 1u << (x - begin));
        const int32_t concept_index = label >= 0 && label < lookup_size ? lookup[label] : kUnknown;
        if (concept_index == kIgnored) continue;
        if (concept_index == kUnknown) {
          image.known = false;
          image.unknown = label;
          return image;
        }
        if (concept_index >= static_cast<int32_t>(slots.size())) slots.resize(concept_index + 1, -1);
        int32_t& slot = slots[concept_index];
        if (slot < 0) {
          slot = static_cast<int32_t>(concepts.size());
          concepts.push_back(concept_index);
          bitmaps.resize(bitmaps.size() + places, 0);
        }
        bitmaps[slot * places + row % H * words + word] |= bits;
      }
    }
  }

  std::vector<int32_t> order(concepts.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return concepts[a] < concepts[b]; });
  image.bitmaps.reserve(bitmaps.size());
  for (const int32_t slot : order) {
    const auto begin = bitmaps.begin() + slot * places;
    image.concepts.push_back(concepts[slot]);
    image.pixels.push_back(std::accumulate(begin, begin + places, 0, [](int sum, uint16_t bits) {
      return sum + __builtin_popcount(bits);
    }));
    image.bitmaps.insert(image.bitmaps.end(), begin, begin + places);
  }
  return image;
}

void pack_bool(const uint8_t* masks, int64_t count, int H, int W, int threads, uint16_t* bitmaps, int64_t* pixels) {
  const int words = words_a_row(W);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t m = 0; m < count; ++m) {
    int64_t sum = 0;
    for (int y = 0; y < H; ++y) {
      const uint8_t* line = masks + (m * H + y) * W;
      uint16_t* out = bitmaps + (m * H + y) * words;
      for (int word = 0; word < words; ++word) {
        const int begin = word * kWordBits, length = std::min(W - begin, kWordBits);
        uint32_t bits = 0;
        for (int i = 0; i < length; ++i) bits |= static_cast<uint32_t>(line[begin + i] != 0) << i;
        out[word] = static_cast<uint16_t>(bits);
        sum += __builtin_popcount(bits);
      }
    }
    pixels[m] = sum;
  }
}

void unpack(const uint16_t* bitmaps, int64_t count, int H, int W, uint8_t* masks) {
  const int words = words_a_row(W);
  for (int64_t line = 0; line < count * H; ++line) {
    for (int x = 0; x < W; ++x) {
      masks[line * W + x] = bitmaps[line * words + x / kWordBits] >> (x % kWordBits) & 1;
    }
  }
}

}  // namespace pydissect
