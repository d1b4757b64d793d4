// The packing of many images at once: splits the work over threads and puts what they made into one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../core/pack.hpp"

namespace pydissect {

MaskSize mask_size(int H, int W);

// The concept masks of images, in canonical form: both lists of an image's concepts rise; one without a pixel
// is in neither, one that covers the image is in `whole` and has no bitmap.
struct PackedImages {
  MaskSize size;
  std::vector<int64_t> bitmap_offsets;  // [images + 1]: image n has the bitmaps [n] to [n + 1]
  std::vector<int32_t> concepts;        // [bitmaps]
  std::vector<int32_t> pixels;          // [bitmaps] set in each
  std::unique_ptr<uint16_t[]> bitmaps;  // [bitmaps, H, words]
  std::vector<int64_t> whole_offsets;   // [images + 1], likewise
  std::vector<int32_t> whole;
};

PackedImages pack_bool(const BoolMasks& masks, int threads, const std::string& level_cap);

// `whole` are concepts that cover every image besides. Where there are unknown labels, they are left out.
PackedImages pack_labels(const LabelMaps& maps, const Vocabulary& vocabulary, const std::vector<int32_t>& whole,
                         int threads, const std::string& level_cap, UnknownLabels& unknown);

// Writes each of `count` bitmaps as bytes, 0 or 1, into the plane [H, W] of `masks` that `planes` says. No two
// may say the same.
void unpack(const uint16_t* bitmaps, const int64_t* planes, int64_t count, MaskSize size, int threads, uint8_t* masks);

}  // namespace pydissect
