// The instruction set that every compiler has: GCC's and Clang's generic vectors and plain loops.
#pragma once

#include "../core/words.hpp"

namespace pydissect {

struct Portable {
  typedef float Lanes __attribute__((vector_size(32)));
  typedef int32_t Flags __attribute__((vector_size(32)));
  static constexpr int kRows = 1;

  // Eight values, for every row.
  static Lanes load_word(const float* source) {
    Lanes lanes;
    std::memcpy(&lanes, source, sizeof lanes);
    return lanes;
  }

  // A value for each lane.
  static Lanes load_lanes(const float* source) { return load_word(source); }

  // The bits of two rows' words, the first row's lowest.
  static uint32_t above(const Lanes (&values)[2], float threshold) {
    int32_t bits = 0;
    for (int row = 0; row < 2; ++row) {
      const Flags flags = (values[row] > Lanes{} + threshold) & (Flags{1, 2, 4, 8, 16, 32, 64, 128} << (8 * row));
      for (int i = 0; i < 8; ++i) bits |= flags[i];
    }
    return static_cast<uint32_t>(bits);
  }

  template <Dtype kDtype>
  static float decode(typename Element<kDtype>::Stored value) {
    return Element<kDtype>::decode(value);
  }

  template <Dtype kDtype>
  static Lanes window(const typename Element<kDtype>::Stored* source) {
    Lanes window;
    for (int i = 0; i < 8; ++i) window[i] = Element<kDtype>::decode(source[i]);
    return window;
  }

  static Lanes pick(Lanes window, const int32_t* index) {
    Lanes lanes;
    for (int i = 0; i < 8; ++i) lanes[i] = window[index[i]];
    return lanes;
  }

  // Of the pairs of pixel rows that read a source row, at a column: which are above a threshold?
  static uint32_t pairs_above(const RowReaders& readers, float above, float here, float below, float threshold) {
    const Lerp<float> upper(above, here), lower(here, below);
    uint32_t pairs = 0;
    for (int i = 0; i < kReaders; ++i) {
      for (const auto& fractions : readers.fractions) {
        const float value = (readers.above[i] ? upper : lower).at(fractions[i]);
        pairs |= static_cast<uint32_t>(value > threshold) << i;
      }
    }
    return pairs;
  }

  // The words of pairs of pixel rows that are marked.
  class Marks {
   public:
    // Marks the words of the pairs.
    void add(uint64_t pairs, uint16_t words) {
      pairs_ |= pairs;
      for (; pairs; pairs &= pairs - 1) words_[__builtin_ctzll(pairs)] |= words;
    }

    // Writes the words of each pair; returns which pairs have any.
    uint64_t store(uint16_t* words) const {
      std::copy_n(words_, kFewPairs, words);
      return pairs_;
    }

   private:
    uint64_t pairs_ = 0;
    uint16_t words_[kFewPairs] = {};
  };

  template <Dtype kDtype>
  class MapScan {
   public:
    int find(const typename Element<kDtype>::Stored* map, int size, typename Element<kDtype>::Cut cut, Hot* hot,
             const char*&) {
      int hot_count = 0;
      for (int begin = 0; begin < size; begin += 32) {
        const int count = std::min(size - begin, 32);
        uint32_t above = 0;
        for (int i = 0; i < count; ++i) {
          if constexpr (kDtype == Dtype::f32) {
            above |= static_cast<uint32_t>(map[begin + i] > cut) << i;
            largest_ = std::max(largest_, bits_of(map[begin + i]) & kMagnitude);
          } else {
            above |= static_cast<uint32_t>(HalfCut::key_of(map[begin + i]) > cut.key) << i;
            largest_ = std::max<uint32_t>(largest_, map[begin + i] & 0x7fffu);
          }
        }
        append_hot(hot, hot_count, begin, above);
      }
      return hot_count;
    }

    bool may_be_nonfinite() const {
      if constexpr (kDtype == Dtype::f32) {
        return largest_ >= kNonfinite;
      } else {
        return largest_ >= kNonfiniteHalf<kDtype>;
      }
    }

   private:
    uint32_t largest_ = 0;
  };

  class UnitScan {
   public:
    UnitScan(const float* lowest, int units) : lowest_(lowest), units_(units) {}

    template <Dtype kDtype, class Next>
    void compare(int count, Next next, uint32_t* above) {
      for (int i = 0; i < count; ++i) {
        const auto* pixel = next();
        above[i] = 0;
        for (int u = 0; u < units_; ++u) {
          const float value = Element<kDtype>::decode(pixel[u]);
          above[i] |= static_cast<uint32_t>(value > lowest_[u]) << u;
          nonfinite_ |= is_nonfinite(value);
        }
      }
    }

    bool may_be_nonfinite() const { return nonfinite_; }

   private:
    const float* lowest_;
    int units_;
    bool nonfinite_ = false;
  };

  // Decodes a map.
  template <Dtype kDtype>
  static void decode_map(const typename Element<kDtype>::Stored* values, int size, float* out) {
    for (int i = 0; i < size; ++i) out[i] = Element<kDtype>::decode(values[i]);
  }

  // Lists those of sixteen words from the first on that are touched, 2^kStep from one to the next.
  template <int kStep>
  static void append_items(Item* items, Item first, uint32_t touched) {
    for (; touched; touched &= touched - 1) *items++ = first + (__builtin_ctz(touched) << kStep);
  }

  // Transposes 32 x 32 bits: bit j of rows[i] becomes bit i of rows[j].
  static void transpose_bits(uint32_t (&rows)[32]) {
    uint32_t low = 0x0000ffffu;
    for (int width = 16; width; width >>= 1, low ^= low << width) {
      for (int i = 0; i < 32; i = ((i | width) + 1) & ~width) {
        const uint32_t swap = ((rows[i] >> width) ^ rows[i | width]) & low;
        rows[i] ^= swap << width;
        rows[i | width] ^= swap;
      }
    }
  }

  // out[p] = the bytes `place + p` of the rows, side by side, for 16 places.
  static void transpose_masks(const uint8_t* const* rows, int64_t place, uint8_t* out) {
    for (int i = 0; i < kMaskBlock; ++i) {
      for (int p = 0; p < 16; ++p) out[p * kMaskBlock + i] = rows[i][place + p];
    }
  }

  static constexpr int kKeptAtOnce = 0;  // words found: it has no instruction that compresses

  // Sets or adds to the totals: the bits that pairs of words share with each of 32 masks.
  template <bool kAdd>
  static void count_bits(const uint8_t* table, int64_t row_step, const Found* found, int count, uint32_t* totals) {
    uint8_t sums[kMaskBlock] = {};
    for (int i = 0; i < count; ++i) {
      const uint8_t* masks = table + (found[i] >> 32) * kMaskBlock;
      for (int row = 0; row < kRowPair; ++row, masks += row_step) {
        const uint8_t word = static_cast<uint8_t>(found[i] >> (8 * row));
        for (int m = 0; m < kMaskBlock; ++m) {
          uint8_t v = masks[m] & word;
          v = static_cast<uint8_t>(v - ((v >> 1) & 0x55));
          v = static_cast<uint8_t>((v & 0x33) + ((v >> 2) & 0x33));
          sums[m] = static_cast<uint8_t>(sums[m] + ((v + (v >> 4)) & 0x0f));
        }
      }
    }
    for (int m = 0; m < kMaskBlock; ++m) totals[m] = (kAdd ? totals[m] : 0) + sums[m];
  }

  // Which of 64 elements equal `value`, a bit each.
  template <class T>
  static uint64_t equal(const T* elements, T value) {
    uint8_t flags[64];
    for (int i = 0; i < 64; ++i) flags[i] = elements[i] == value;
    uint64_t bits = 0;
    for (int i = 0; i < 64; i += 8) {
      uint64_t eight;
      std::memcpy(&eight, flags + i, 8);
      // Moves the lowest bit of byte j to bit 56 + j; no two of the products' bits meet.
      bits |= (eight * 0x0102040810204080 >> 56) << i;
    }
    return bits;
  }

  template <Dtype kDtype>
  static int64_t append_above(const typename Element<kDtype>::Stored* values, int64_t count, float bound, float* out,
                              bool& nonfinite) {
    int64_t above = 0;
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float value = Element<kDtype>::decode(values[i]);
      largest = std::max(largest, bits_of(value) & kMagnitude);
      out[above] = value;
      above += (value > bound) & (value < kLeastNonfinite);
    }
    nonfinite = largest >= kNonfinite;
    return above;
  }

  static int64_t count_above(const float* values, int64_t count, float bound) {
    int64_t above = 0;
    for (int64_t i = 0; i < count; ++i) above += values[i] > bound;
    return above;
  }

  template <Dtype kDtype>
  static bool above_each(const typename Element<kDtype>::Stored* values, const float* bounds, int64_t count,
                         uint32_t* hits) {
    uint32_t largest = 0;
    for (int64_t begin = 0; begin < count; begin += 32) {
      uint32_t word = 0;
      for (int64_t i = begin; i < std::min(begin + 32, count); ++i) {
        const float value = Element<kDtype>::decode(values[i]);
        largest = std::max(largest, bits_of(value) & kMagnitude);
        word |= static_cast<uint32_t>(value > bounds[i]) << (i - begin);
      }
      hits[begin / 32] = word;
    }
    return largest >= kNonfinite;
  }
};

}  // namespace pydissect
