// Packing label maps and bool masks into bitmaps: rows of 16-bit words, pixel x in bit x % 16 of word x / 16.
#pragma once

#include <cstdint>
#include <vector>

namespace pydissect {

struct PackedImage {
  std::vector<int32_t> concepts;  // rising
  std::vector<int32_t> pixels;    // set in each concept's bitmap
  std::vector<uint16_t> bitmaps;  // [concepts, H, words]
  bool known = true;              // false: a label that the lookup lacks was met, and nothing is packed
  int32_t unknown = 0;            // that label
};

// labels [layers, H, W]; lookup[label] is the label's concept, or kIgnored, or kUnknown. A pixel
// carries a concept if any layer says so.
constexpr int32_t kIgnored = -1, kUnknown = -2;
PackedImage pack_labels(const int32_t* labels, int layers, int H, int W, const int32_t* lookup, int64_t lookup_size);

// masks [count, H, W] of bytes, 0 or not, to bitmaps [count, H, words] and the pixels set in each.
void pack_bool(const uint8_t* masks, int64_t count, int H, int W, int threads, uint16_t* bitmaps, int64_t* pixels);

// The inverse of pack_bool.
void unpack(const uint16_t* bitmaps, int64_t count, int H, int W, uint8_t* masks);

}  // namespace pydissect
