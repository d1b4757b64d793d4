// Packing bool masks and label maps into bitmaps: rows of 16-bit words, pixel x in bit x % 16 of word x / 16.
//
// Both go through the rows in chunks of 64 pixels, and both know one question, `Isa::equal`: which elements of
// a chunk equal a value? A bool mask asks it of 0. A label map asks it of the first label of the chunk, then
// of the first that is left, so that it costs as much as there are different labels, not pixels.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace pydissect {

constexpr int kChunk = 64;
constexpr int kBitmapWordBits = 16;

// The bitmaps of a part of an image while it is packed. It grows through `add`, which the caller brings, so
// that nothing of the standard library is compiled for one instruction set and linked into the others.
struct Sheet {
  uint16_t* bitmaps;  // [added, H, words]
  int64_t* pixels;    // [added] set in each
  int32_t* slots;     // [known] concept -> its bitmap, or -1
  int64_t known;
  // Adds a concept's bitmap, without pixels yet, and returns its place. The arrays above may move.
  int32_t (*add)(Sheet& sheet, int64_t concept_index);
};

struct MaskSize {
  int H, W;        // pixels
  int words;       // of a row
  int64_t places;  // words of a bitmap
};

// bool [images, concepts, H, W]: bytes, 0 or not; strides in elements, none negative.
struct BoolMasks {
  const uint8_t* data;
  int64_t images, concepts;
  MaskSize size;
  int64_t stride_n, stride_c, stride_y, stride_x;
};

enum class LabelType { u8, i8, u16, i16, u32, i32, u64, i64 };

// Labels [images, layers, H, W]; strides in elements, none negative.
struct LabelMaps {
  const void* data;
  LabelType type;
  int64_t images, layers;
  MaskSize size;
  int64_t stride_n, stride_layer, stride_y, stride_x;
};

// What labels mean: `ignored` nothing, if there is such a label; `first` + i the concept of place i in
// `concepts`, or the concept i if there is no such table. The table holds kIgnored and kUnknown, too.
struct Vocabulary {
  bool has_ignored;
  int64_t ignored;
  int64_t first, count;
  const int32_t* concepts;
};
constexpr int64_t kIgnored = -1, kUnknown = -2;

// The smallest and the largest unknown label, as numbers whose order is the labels' whatever their type:
// a signed one has 2^63 added.
struct UnknownLabels {
  uint64_t low = UINT64_MAX, high = 0;  // low > high: there are none
};

template <class Isa>
uint64_t first_bits(int count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Sets the pixels `bits` of a bitmap's row, from the word `words` on, of which there are `left` in the row;
// returns how many were not set before.
template <class Isa>
int add_bits(uint16_t* words, int left, uint64_t bits) {
  if (left >= 4) {
    uint64_t before;
    std::memcpy(&before, words, sizeof before);
    const uint64_t after = before | bits;
    std::memcpy(words, &after, sizeof after);
    return __builtin_popcountll(bits & ~before);
  }
  int added = 0;
  for (int i = 0; i < left; ++i, bits >>= kBitmapWordBits) {
    const uint16_t word = static_cast<uint16_t>(bits);
    added += __builtin_popcount(word & ~words[i]);
    words[i] |= word;
  }
  return added;
}

// The chunk of `count` elements at `source`: there itself if 64 elements can be read, else in `buffer`.
// `readable` is the number of elements that are known to lie there, one after the other.
template <class Isa, class T>
const T* read_chunk(const T* source, int64_t stride, int count, int64_t readable, T* buffer) {
  if (stride == 1) {
    if (readable >= kChunk) return source;
    std::memcpy(buffer, source, count * sizeof(T));
  } else {
    for (int i = 0; i < count; ++i) buffer[i] = source[i * stride];
  }
  return buffer;
}

// Calls `visit(y, x, count, chunk)` for each chunk of a plane [H, W]: pixels x to x + count of row y.
template <class Isa, class T, class Visit>
void for_each_chunk(const T* plane, MaskSize size, int64_t stride_y, int64_t stride_x, Visit visit) {
  alignas(64) T buffer[kChunk] = {};
  const int64_t end = (size.H - 1) * stride_y + (size.W - 1) * stride_x + 1;
  for (int y = 0; y < size.H; ++y) {
    for (int x = 0; x < size.W; x += kChunk) {
      const int count = size.W - x < kChunk ? size.W - x : kChunk;
      const int64_t place = y * stride_y + x * stride_x;
      visit(y, x, count, read_chunk<Isa>(plane + place, stride_x, count, end - place, buffer));
    }
  }
}

template <class Isa>
void pack_bool_plane(const uint8_t* plane, const BoolMasks& masks, uint16_t* bitmap, int64_t& pixels) {
  const int words = masks.size.words;
  for_each_chunk<Isa>(plane, masks.size, masks.stride_y, masks.stride_x,
                      [&](int y, int x, int count, const uint8_t* chunk) {
                        const uint64_t bits = ~Isa::equal(chunk, uint8_t{0}) & first_bits<Isa>(count);
                        const int word = x / kBitmapWordBits;
                        pixels += add_bits<Isa>(bitmap + static_cast<int64_t>(y) * words + word, words - word, bits);
                      });
}

// Bit c of row r becomes bit r of row c: blocks of 32 x 32 bits off the diagonal change places, then within
// each block those of 16 x 16, and so on (Warren, Hacker's Delight, section 7-3).
template <class Isa>
void transpose_bits(uint64_t (&rows)[64]) {
  uint64_t low = 0x00000000ffffffff;
  for (int half = 32; half; half /= 2, low ^= low << half) {
    for (int block = 0; block < 64; block += 2 * half) {
      for (int r = block; r < block + half; ++r) {
        const uint64_t changed = (rows[r] >> half ^ rows[r + half]) & low;
        rows[r] ^= changed << half;
        rows[r + half] ^= changed;
      }
    }
  }
}

// Where the concepts lie innermost (a one-hot encoding of labels, channels-last): a chunk at a time of up to
// 64 concepts, asked pixel by pixel and transposed.
template <class Isa>
void pack_bool_innermost(const uint8_t* image, const BoolMasks& masks, int concepts, uint16_t* bitmaps,
                         int64_t* pixels) {
  const MaskSize size = masks.size;
  const int64_t end = (size.H - 1) * masks.stride_y + (size.W - 1) * masks.stride_x + concepts;
  const int64_t places = size.places;
  const int words = size.words;
  alignas(64) uint8_t buffer[kChunk] = {};
  for (int y = 0; y < size.H; ++y) {
    for (int x = 0; x < size.W; x += kChunk) {
      const int count = size.W - x < kChunk ? size.W - x : kChunk;
      uint64_t rows[64] = {};
      for (int i = 0; i < count; ++i) {
        const int64_t place = y * masks.stride_y + (x + i) * masks.stride_x;
        const uint8_t* pixel = read_chunk<Isa>(image + place, 1, concepts, end - place, buffer);
        rows[i] = ~Isa::equal(pixel, uint8_t{0}) & first_bits<Isa>(concepts);
      }
      transpose_bits<Isa>(rows);
      const int word = x / kBitmapWordBits;
      for (int c = 0; c < concepts; ++c) {
        uint16_t* line = bitmaps + c * places + static_cast<int64_t>(y) * words + word;
        pixels[c] += add_bits<Isa>(line, words - word, rows[c]);
      }
    }
  }
}

constexpr int kConceptBlock = 64;

// Packs the concepts `begin` to `end` (at most kConceptBlock) of an image; the sheet has their bitmaps, in order.
template <class Isa>
void pack_bool_block(const BoolMasks& masks, int64_t image, int64_t begin, int64_t end, Sheet& sheet) {
  const uint8_t* base = masks.data + image * masks.stride_n + begin * masks.stride_c;
  if (masks.stride_c == 1 && masks.stride_x != 1) {
    return pack_bool_innermost<Isa>(base, masks, static_cast<int>(end - begin), sheet.bitmaps, sheet.pixels);
  }
  for (int64_t c = 0; c < end - begin; ++c) {
    pack_bool_plane<Isa>(base + c * masks.stride_c, masks, sheet.bitmaps + c * masks.size.places, sheet.pixels[c]);
  }
}

template <class Isa, class T>
int64_t concept_of(T label, const Vocabulary& vocabulary) {
  // Sign-extended where T is signed; the difference wraps round, so one comparison tests both ends.
  const uint64_t number = static_cast<uint64_t>(label);
  if (vocabulary.has_ignored && number == static_cast<uint64_t>(vocabulary.ignored)) return kIgnored;
  const uint64_t place = number - static_cast<uint64_t>(vocabulary.first);
  if (place >= static_cast<uint64_t>(vocabulary.count)) return kUnknown;
  return vocabulary.concepts ? vocabulary.concepts[place] : static_cast<int64_t>(place);
}

template <class Isa, class T>
void pack_label_layer(const T* layer, const LabelMaps& maps, const Vocabulary& vocabulary, Sheet& sheet,
                      UnknownLabels& unknown) {
  const int words = maps.size.words;
  const int64_t places = maps.size.places;
  for_each_chunk<Isa>(
      layer, maps.size, maps.stride_y, maps.stride_x, [&](int y, int x, int count, const T* chunk) {
        const int word = x / kBitmapWordBits;
        const int64_t line = static_cast<int64_t>(y) * words + word;
        for (uint64_t left = first_bits<Isa>(count); left;) {
          const T label = chunk[__builtin_ctzll(left)];
          const uint64_t bits = Isa::equal(chunk, label) & left;
          left ^= bits;
          const int64_t concept_index = concept_of<Isa>(label, vocabulary);
          if (concept_index == kIgnored) continue;
          if (concept_index == kUnknown) {
            const uint64_t key = static_cast<uint64_t>(label) + (std::is_signed_v<T> ? uint64_t{1} << 63 : 0);
            unknown.low = key < unknown.low ? key : unknown.low;
            unknown.high = key > unknown.high ? key : unknown.high;
            continue;
          }
          int32_t slot = concept_index < sheet.known ? sheet.slots[concept_index] : -1;
          if (slot < 0) slot = sheet.add(sheet, concept_index);
          sheet.pixels[slot] += add_bits<Isa>(sheet.bitmaps + slot * places + line, words - word, bits);
        }
      });
}

template <class Isa, class T>
void pack_layers_of(const LabelMaps& maps, int64_t image, const Vocabulary& vocabulary, Sheet& sheet,
                    UnknownLabels& unknown) {
  const T* layers = static_cast<const T*>(maps.data) + image * maps.stride_n;
  for (int64_t layer = 0; layer < maps.layers; ++layer) {
    pack_label_layer<Isa>(layers + layer * maps.stride_layer, maps, vocabulary, sheet, unknown);
  }
}

// Packs the layers of an image, a bitmap for each concept that has a pixel. A pixel carries a concept if any
// layer says so.
template <class Isa>
void pack_label_image(const LabelMaps& maps, int64_t image, const Vocabulary& vocabulary, Sheet& sheet,
                      UnknownLabels& unknown) {
  switch (maps.type) {
    case LabelType::u8:
      return pack_layers_of<Isa, uint8_t>(maps, image, vocabulary, sheet, unknown);
    case LabelType::i8:
      return pack_layers_of<Isa, int8_t>(maps, image, vocabulary, sheet, unknown);
    case LabelType::u16:
      return pack_layers_of<Isa, uint16_t>(maps, image, vocabulary, sheet, unknown);
    case LabelType::i16:
      return pack_layers_of<Isa, int16_t>(maps, image, vocabulary, sheet, unknown);
    case LabelType::u32:
      return pack_layers_of<Isa, uint32_t>(maps, image, vocabulary, sheet, unknown);
    case LabelType::i32:
      return pack_layers_of<Isa, int32_t>(maps, image, vocabulary, sheet, unknown);
    case LabelType::u64:
      return pack_layers_of<Isa, uint64_t>(maps, image, vocabulary, sheet, unknown);
    case LabelType::i64:
      return pack_layers_of<Isa, int64_t>(maps, image, vocabulary, sheet, unknown);
  }
}

}  // namespace pydissect
