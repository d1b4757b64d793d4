// AVX2 with F16C.
#pragma once

#include "isa_x86.hpp"

namespace pydissect {

struct Avx2 : X86<Avx2> {
  using Lanes = __m256;
  using Window = __m256;
  static constexpr int kRows = 1;

  static Lanes load_word(const float* source) { return _mm256_loadu_ps(source); }

  static Lanes load_rows(const float* source) { return _mm256_broadcast_ss(source); }

  static uint32_t greater(Lanes value, float threshold) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(value, _mm256_set1_ps(threshold), _CMP_GT_OQ)));
  }

  template <Dtype kDtype>
  static Window window(const typename Element<kDtype>::Stored* source) {
    return load_floats<kDtype>(source);
  }

  static Lanes pick(Window window, const int32_t* index) {
    return _mm256_permutevar8x32_ps(window, load(index));
  }

  // Compares maps' values with cuts, and keeps the largest magnitude.
  template <Dtype kDtype>
  class MapScan {
   public:
    using Stored = typename Element<kDtype>::Stored;

    // Lists the values above the cut; returns how many entries that took.
    int find(const Stored* map, int size, typename Element<kDtype>::Cut cut, Hot* hot) {
      if constexpr (kDtype == Dtype::f32) {
        return find_above<false>(map, size, _mm256_castps_si256(_mm256_set1_ps(cut)), hot);
      } else {
        const __m256i key = _mm256_set1_epi16(cut.key);
        return cut.negative ? find_above<true>(map, size, key, hot) : find_above<false>(map, size, key, hot);
      }
    }

    bool nonfinite() const {
      // Magnitudes have no sign bit, so that signed comparisons order them.
      if constexpr (kDtype == Dtype::f32) {
        return bits(_mm256_cmpgt_epi32(largest_, _mm256_set1_epi32(static_cast<int>(kNonfinite) - 1)));
      } else {
        return bits(_mm256_cmpgt_epi16(largest_, _mm256_set1_epi16(Element<kDtype>::kNonfinite - 1)));
      }
    }

   private:
    template <bool kNegativeCut>
    int find_above(const Stored* map, int size, __m256i cut, Hot* hot) {
      __m256i largest = largest_;
      int begin = 0, count = 0;
      for (; begin + 32 <= size; begin += 32) {
        append_hot(hot, count, begin, above<kNegativeCut>(map + begin, cut, largest));
      }
      if (begin < size) {
        // The last values once more with some before them, or with zeros after them.
        Stored last[32] = {};
        if (size < 32) {
          std::copy(map, map + size, last);
          append_hot(hot, count, 0, above<kNegativeCut>(last, cut, largest) & ((1u << size) - 1));
        } else {
          append_hot(hot, count, begin, above<kNegativeCut>(map + size - 32, cut, largest) >> (32 - (size - begin)));
        }
      }
      largest_ = largest;
      return count;
    }

    // Which of 32 values are above the cut?
    template <bool kNegativeCut>
    static uint32_t above(const Stored* values, __m256i cut, __m256i& largest) {
      if constexpr (kDtype == Dtype::f32) {
        const __m256i a = _mm256_packs_epi32(compare(values, cut, largest), compare(values + 8, cut, largest));
        const __m256i b = _mm256_packs_epi32(compare(values + 16, cut, largest), compare(values + 24, cut, largest));
        // Packing works within halves of registers: values 0 to 3, 8 to 11, ... have come first.
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        return bits(_mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order));
      } else {
        const __m256i packed = _mm256_packs_epi16(compare<kNegativeCut>(values, cut, largest),
                                                  compare<kNegativeCut>(values + 16, cut, largest));
        return bits(_mm256_permute4x64_epi64(packed, 0xd8));
      }
    }

    static __m256i compare(const float* values, __m256i cut, __m256i& largest) {
      const __m256 v = _mm256_loadu_ps(values);
      const __m256i magnitude = _mm256_set1_epi32(static_cast<int>(kMagnitude));
      largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(v), magnitude));
      return _mm256_castps_si256(_mm256_cmp_ps(v, _mm256_castsi256_ps(cut), _CMP_GT_OQ));
    }

    template <bool kNegativeCut>
    static __m256i compare(const uint16_t* values, __m256i cut, __m256i& largest) {
      const __m256i v = load(values), magnitude = _mm256_set1_epi16(0x7fff);
      largest = _mm256_max_epi16(largest, _mm256_and_si256(v, magnitude));
      if constexpr (!kNegativeCut) return _mm256_cmpgt_epi16(v, cut);
      const __m256i inverted = _mm256_and_si256(_mm256_srai_epi16(v, 15), magnitude);
      return _mm256_cmpgt_epi16(_mm256_xor_si256(v, inverted), cut);
    }

    static uint32_t bits(__m256i bytes) { return static_cast<uint32_t>(_mm256_movemask_epi8(bytes)); }

    __m256i largest_ = _mm256_setzero_si256();
  };

  // Compares the values of up to 32 units, side by side, with their thresholds.
  class UnitScan {
   public:
    UnitScan(const float* lowest, int units) : groups_((units + 7) / 8), last_(units - 8 * (groups_ - 1)) {
      float padded[32] = {};
      std::copy(lowest, lowest + units, padded);
      for (int g = 0; g < 4; ++g) {
        lowest_[g] = _mm256_loadu_ps(padded + 8 * g);
        largest_[g] = _mm256_setzero_si256();
      }
    }

    template <Dtype kDtype>
    uint32_t above(const typename Element<kDtype>::Stored* pixel) {
      if (groups_ == 4 && last_ == 8) {
        return group<kDtype>(pixel, 0) | group<kDtype>(pixel + 8, 1) << 8 | group<kDtype>(pixel + 16, 2) << 16 |
               group<kDtype>(pixel + 24, 3) << 24;
      }
      uint32_t above = 0;
      for (int g = 0; g + 1 < groups_; ++g) above |= group<kDtype>(pixel + 8 * g, g) << (8 * g);
      typename Element<kDtype>::Stored last[8] = {};
      std::copy_n(pixel + 8 * (groups_ - 1), last_, last);
      return above | (group<kDtype>(last, groups_ - 1) & ((1u << last_) - 1)) << (8 * (groups_ - 1));
    }

    bool nonfinite() const {
      const __m256i largest = _mm256_max_epi32(_mm256_max_epi32(largest_[0], largest_[1]),
                                               _mm256_max_epi32(largest_[2], largest_[3]));
      return _mm256_movemask_epi8(_mm256_cmpgt_epi32(largest, _mm256_set1_epi32(static_cast<int>(kNonfinite) - 1)));
    }

   private:
    template <Dtype kDtype>
    uint32_t group(const typename Element<kDtype>::Stored* values, int g) {
      const __m256 v = load_floats<kDtype>(values);
      const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(static_cast<int>(kMagnitude)));
      largest_[g] = _mm256_max_epi32(largest_[g], magnitude);
      return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(v, lowest_[g], _CMP_GT_OQ)));
    }

    int groups_, last_;
    __m256 lowest_[4];
    __m256i largest_[4];
  };

  // The places of the bits set in a byte, a byte each, for every byte.
  struct Places {
    uint64_t of[256];
    constexpr Places() : of() {
      for (int byte = 0; byte < 256; ++byte) {
        for (int bit = 0, count = 0; bit < 8; ++bit) {
          if (byte >> bit & 1) of[byte] |= static_cast<uint64_t>(bit) << (8 * count++);
        }
      }
    }
  };

  static void append_items(Item* items, Item first, uint32_t touched) {
    static constexpr Places kPlaces;
    const __m128i places = _mm_cvtsi64_si128(static_cast<int64_t>(kPlaces.of[touched]));
    const __m256i base = _mm256_set1_epi64x(static_cast<int64_t>(first));
    store(items, _mm256_add_epi64(base, _mm256_cvtepu8_epi64(places)));
    store(items + 4, _mm256_add_epi64(base, _mm256_cvtepu8_epi64(_mm_srli_si128(places, 4))));
  }

  static __m256i load_bytes(const void* source) { return _mm256_loadu_si256(static_cast<const __m256i*>(source)); }

  static uint32_t byte_mask(__m256i flags) { return static_cast<uint32_t>(_mm256_movemask_epi8(flags)); }

  // Which of 64 elements equal `value`, a bit each.
  template <class T>
  static uint64_t equal(const T* elements, T value) {
    uint64_t bits = 0;
    if constexpr (sizeof(T) == 1) {
      const __m256i wanted = _mm256_set1_epi8(static_cast<char>(value));
      for (int i = 0; i < 64; i += 32) {
        const __m256i flags = _mm256_cmpeq_epi8(load_bytes(elements + i), wanted);
        bits |= static_cast<uint64_t>(byte_mask(flags)) << i;
      }
    } else if constexpr (sizeof(T) == 2) {
      const __m256i wanted = _mm256_set1_epi16(static_cast<short>(value));
      for (int i = 0; i < 64; i += 32) {
        const __m256i low = _mm256_cmpeq_epi16(load_bytes(elements + i), wanted);
        const __m256i high = _mm256_cmpeq_epi16(load_bytes(elements + i + 16), wanted);
        // The pack works within the 128-bit halves: quarters 1 and 2 change places.
        const __m256i flags = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0b11'01'10'00);
        bits |= static_cast<uint64_t>(byte_mask(flags)) << i;
      }
    } else if constexpr (sizeof(T) == 4) {
      const __m256i wanted = _mm256_set1_epi32(static_cast<int>(value));
      for (int i = 0; i < 64; i += 8) {
        const __m256i flags = _mm256_cmpeq_epi32(load_bytes(elements + i), wanted);
        bits |= static_cast<uint64_t>(_mm256_movemask_ps(_mm256_castsi256_ps(flags))) << i;
      }
    } else {
      const __m256i wanted = _mm256_set1_epi64x(static_cast<long long>(value));
      for (int i = 0; i < 64; i += 4) {
        const __m256i flags = _mm256_cmpeq_epi64(load_bytes(elements + i), wanted);
        bits |= static_cast<uint64_t>(_mm256_movemask_pd(_mm256_castsi256_pd(flags))) << i;
      }
    }
    return bits;
  }
};

}  // namespace pydissect
