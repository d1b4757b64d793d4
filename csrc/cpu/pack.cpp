#include "pack.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>

#include "level.hpp"

namespace pydissect {
namespace {

// A sheet with memory of its own, reused for one part after the other.
class OwnSheet : public Sheet {
 public:
  explicit OwnSheet(MaskSize size) : Sheet{}, places_(size.places) { add = &OwnSheet::add_bitmap; }

  const std::vector<int32_t>& concepts() const { return concepts_; }
  const uint16_t* bitmap(int64_t slot) const { return memory_.data() + slot * places_; }
  int64_t places() const { return places_; }

  void clear() {
    for (const int32_t concept_index : concepts_) slots_[concept_index] = -1;
    concepts_.clear();
    counts_.clear();
    memory_.clear();
  }

 private:
  static int32_t add_bitmap(Sheet& sheet, int64_t concept_index) {
    OwnSheet& own = static_cast<OwnSheet&>(sheet);
    const int32_t slot = static_cast<int32_t>(own.concepts_.size());
    if (concept_index >= static_cast<int64_t>(own.slots_.size())) own.slots_.resize(concept_index + 1, -1);
    own.slots_[concept_index] = slot;
    own.concepts_.push_back(static_cast<int32_t>(concept_index));
    own.counts_.push_back(0);
    own.memory_.resize(own.memory_.size() + own.places_, 0);
    own.bitmaps = own.memory_.data();
    own.pixels = own.counts_.data();
    own.slots = own.slots_.data();
    own.known = static_cast<int64_t>(own.slots_.size());
    return slot;
  }

  int64_t places_;
  std::vector<int32_t> slots_, concepts_;
  std::vector<int64_t> counts_;
  std::vector<uint16_t> memory_;
};

// What a part of an image came to, in canonical form.
struct PackedPart {
  std::vector<int32_t> concepts, pixels, whole;
  std::vector<uint16_t> bitmaps;
  UnknownLabels unknown;
};

void to_canonical(const OwnSheet& sheet, MaskSize size, const std::vector<int32_t>& whole, PackedPart& part) {
  const std::vector<int32_t>& concepts = sheet.concepts();
  std::vector<int32_t> order(concepts.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return concepts[a] < concepts[b]; });
  part.whole = whole;
  for (const int32_t slot : order) {
    if (sheet.pixels[slot] == static_cast<int64_t>(size.H) * size.W) part.whole.push_back(concepts[slot]);
  }
  std::sort(part.whole.begin(), part.whole.end());
  part.whole.erase(std::unique(part.whole.begin(), part.whole.end()), part.whole.end());
  part.bitmaps.reserve(order.size() * sheet.places());
  for (const int32_t slot : order) {
    if (sheet.pixels[slot] == 0 || std::binary_search(part.whole.begin(), part.whole.end(), concepts[slot])) continue;
    part.concepts.push_back(concepts[slot]);
    part.pixels.push_back(static_cast<int32_t>(sheet.pixels[slot]));
    part.bitmaps.insert(part.bitmaps.end(), sheet.bitmap(slot), sheet.bitmap(slot) + sheet.places());
  }
}

// Calls `work(i, sheet)` for every i below `count` in threads, each with a sheet of its own.
template <class Work>
void in_threads(int64_t count, int threads, MaskSize size, Work work) {
  std::exception_ptr failure;
#pragma omp parallel num_threads(static_cast<int>(std::clamp<int64_t>(count, 1, threads)))
  {
    OwnSheet sheet(size);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < count; ++i) {
      // No exception may leave a thread.
      try {
        work(i, sheet);
      } catch (...) {
#pragma omp critical(pydissect_pack_failure)
        failure = std::current_exception();
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// Image n has the parts n * a to (n + 1) * a, `a` for each of the images, of rising concepts.
PackedImages join(const std::vector<PackedPart>& parts, int64_t images, MaskSize size, int threads) {
  PackedImages joined{};
  joined.size = size;
  const int64_t count = static_cast<int64_t>(parts.size());
  const int64_t parts_an_image = images ? count / images : 0;
  std::vector<int64_t> first(count + 1, 0);  // bitmap of each part
  joined.bitmap_offsets.assign(1, 0);
  joined.whole_offsets.assign(1, 0);
  for (int64_t i = 0; i < count; ++i) {
    const PackedPart& part = parts[i];
    joined.concepts.insert(joined.concepts.end(), part.concepts.begin(), part.concepts.end());
    joined.pixels.insert(joined.pixels.end(), part.pixels.begin(), part.pixels.end());
    joined.whole.insert(joined.whole.end(), part.whole.begin(), part.whole.end());
    first[i + 1] = static_cast<int64_t>(joined.concepts.size());
    if ((i + 1) % parts_an_image == 0) {
      joined.bitmap_offsets.push_back(first[i + 1]);
      joined.whole_offsets.push_back(static_cast<int64_t>(joined.whole.size()));
    }
  }
  joined.bitmaps.reset(new uint16_t[first[count] * size.places]);
#pragma omp parallel for num_threads(static_cast<int>(std::clamp<int64_t>(count, 1, threads))) schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    std::copy(parts[i].bitmaps.begin(), parts[i].bitmaps.end(), joined.bitmaps.get() + first[i] * size.places);
  }
  return joined;
}

// Bit i in byte i, as 0 or 1.
uint64_t spread_bits(uint8_t bits) {
  // A copy in each of eight bytes, of which each keeps one bit; adding 0x7f carries it to the top.
  const uint64_t kept = bits * 0x0101010101010101 & 0x8040201008040201;
  return (kept + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
}

}  // namespace

MaskSize mask_size(int H, int W) {
  const int words = (W + kBitmapWordBits - 1) / kBitmapWordBits;
  return {H, W, words, static_cast<int64_t>(H) * words};
}

PackedImages pack_bool(const BoolMasks& masks, int threads, const std::string& level_cap) {
  const Level& level = best_level(level_cap);
  // An image without concepts is a part, too.
  const int64_t blocks = std::max<int64_t>((masks.concepts + kConceptBlock - 1) / kConceptBlock, 1);
  std::vector<PackedPart> parts(masks.images * blocks);
  in_threads(static_cast<int64_t>(parts.size()), threads, masks.size, [&](int64_t i, OwnSheet& sheet) {
    const int64_t begin = i % blocks * kConceptBlock, end = std::min(begin + kConceptBlock, masks.concepts);
    sheet.clear();
    for (int64_t concept_index = begin; concept_index < end; ++concept_index) sheet.add(sheet, concept_index);
    if (begin < end) level.pack_bool(masks, i / blocks, begin, end, sheet);
    to_canonical(sheet, masks.size, {}, parts[i]);
  });
  return join(parts, masks.images, masks.size, threads);
}

PackedImages pack_labels(const LabelMaps& maps, const Vocabulary& vocabulary, const std::vector<int32_t>& whole,
                         int threads, const std::string& level_cap, UnknownLabels& unknown) {
  const Level& level = best_level(level_cap);
  std::vector<PackedPart> parts(maps.images);
  in_threads(maps.images, threads, maps.size, [&](int64_t i, OwnSheet& sheet) {
    sheet.clear();
    level.pack_labels(maps, i, vocabulary, sheet, parts[i].unknown);
    to_canonical(sheet, maps.size, whole, parts[i]);
  });
  for (const PackedPart& part : parts) {
    unknown.low = std::min(unknown.low, part.unknown.low);
    unknown.high = std::max(unknown.high, part.unknown.high);
  }
  return join(parts, maps.images, maps.size, threads);
}

void unpack(const uint16_t* bitmaps, const int64_t* planes, int64_t count, MaskSize size, int threads, uint8_t* masks) {
  const int64_t area = static_cast<int64_t>(size.H) * size.W;
#pragma omp parallel for num_threads(static_cast<int>(std::clamp<int64_t>(count, 1, threads))) schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    for (int y = 0; y < size.H; ++y) {
      const uint16_t* row = bitmaps + i * size.places + static_cast<int64_t>(y) * size.words;
      const uint8_t* line = reinterpret_cast<const uint8_t*>(row);
      uint8_t* out = masks + planes[i] * area + static_cast<int64_t>(y) * size.W;
      int x = 0;
      for (; x + 8 <= size.W; x += 8) {
        const uint64_t eight = spread_bits(line[x / 8]);
        std::memcpy(out + x, &eight, 8);
      }
      if (x < size.W) {
        const uint64_t eight = spread_bits(line[x / 8]);
        std::memcpy(out + x, &eight, size.W - x);
      }
    }
  }
}

}  // namespace pydissect
