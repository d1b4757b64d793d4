// AVX-512 (F, BW, DQ, VL), with or without BITALG, which has popcounts of bytes.
#pragma once

#include <type_traits>

#include "isa_x86.hpp"

namespace pydissect {

template <bool kBitalg>
struct Avx512 : X86<Avx512<kBitalg>> {
  using Common = X86<Avx512<kBitalg>>;
  using Lanes = __m512;  // a word of one pixel row, and of the next
  static constexpr int kRows = 2;

  // Eight values, for every row.
  static Lanes load_word(const float* source) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(source)); }

  // A value for each lane.
  static Lanes load_lanes(const float* source) { return _mm512_loadu_ps(source); }

  // The bits of two rows' words, the first row's lowest.
  static uint32_t above(const Lanes (&values)[1], float threshold) {
    return _mm512_cmp_ps_mask(values[0], _mm512_set1_ps(threshold), _CMP_GT_OQ);
  }

  // Eight values, for either row.
  template <Dtype kDtype>
  static Lanes window(const typename Element<kDtype>::Stored* source) {
    if constexpr (kDtype == Dtype::f32) {
      return load_word(source);
    } else {
      const __m256i halves = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
      return decode_sixteen<kDtype>(halves);
    }
  }

  static Lanes pick(Lanes window, const int32_t* index) {
    return _mm512_permutexvar_ps(_mm512_loadu_si512(index), window);
  }

  // Decodes a map; writes up to fifteen values more.
  template <Dtype kDtype>
  static void decode_map(const typename Element<kDtype>::Stored* values, int size, float* out) {
    int i = 0;
    for (; i + 16 <= size; i += 16) _mm512_storeu_ps(out + i, load_sixteen<kDtype>(values + i, 0xffff));
    if (i < size) _mm512_storeu_ps(out + i, load_sixteen<kDtype>(values + i, first_sixteen(size - i)));
  }

  // The words of pairs of pixel rows that are marked.
  class Marks {
   public:
    // Marks the words of the pairs.
    void add(uint64_t pairs, uint16_t words) {
      const __m512i marked = _mm512_set1_epi16(static_cast<int16_t>(words));
      low_ = _mm512_or_si512(low_, _mm512_maskz_mov_epi16(static_cast<__mmask32>(pairs), marked));
      high_ = _mm512_or_si512(high_, _mm512_maskz_mov_epi16(static_cast<__mmask32>(pairs >> 32), marked));
    }

    // Writes the words of each pair; returns which pairs have any.
    uint64_t store(uint16_t* words) const {
      _mm512_storeu_si512(words, low_);
      _mm512_storeu_si512(words + 32, high_);
      return static_cast<uint64_t>(_mm512_test_epi16_mask(high_, high_)) << 32 | _mm512_test_epi16_mask(low_, low_);
    }

   private:
    __m512i low_ = _mm512_setzero_si512(), high_ = _mm512_setzero_si512();
  };

  // The bits of the values map[begin .. begin + 32) that lie before `size`.
  static uint32_t valid(int begin, int size) { return ~0u >> (32 - std::min(size - begin, 32)); }

  // Whether any of the values that it was given may be non-finite. Then their sum of squares overflows, to NaN, infinity or,
  // where that is how it is rounded, the largest finite number, and stays there, for no square is negative. It may also be
  // huge of finite values, from some 2^55 on. Squares, for two units of Intel's processors take these, and only one the
  // maxima of integers. Each subnormal value, live or not, makes it slow (benchmarks/README.md).
  class Squares {
   public:
    void add(__m512 low, __m512 high) {
      low_ = _mm512_fmadd_ps(low, low, low_);
      high_ = _mm512_fmadd_ps(high, high, high_);
    }

    bool may_be_nonfinite() const { return is_huge(low_) || is_huge(high_); }

   private:
    static bool is_huge(__m512 sums) { return _mm512_cmp_ps_mask(sums, _mm512_set1_ps(0x1p126f), _CMP_NLT_UQ) != 0; }

    // Not zero, for then sums of small squares would be subnormal.
    __m512 low_ = _mm512_set1_ps(1.0f), high_ = low_;
  };

  // The same for halves: the largest magnitude.
  template <Dtype kDtype>
  class HalfMagnitude {
   public:
    void add(__m512i halves) {
      // Magnitudes have no sign bit, so that signed comparisons order them.
      largest_ = _mm512_max_epi16(largest_, _mm512_and_si512(halves, _mm512_set1_epi16(0x7fff)));
    }

    bool may_be_nonfinite() const {
      return _mm512_cmpge_epi16_mask(largest_, _mm512_set1_epi16(static_cast<int16_t>(kNonfiniteHalf<kDtype>))) != 0;
    }

   private:
    __m512i largest_ = _mm512_setzero_si512();
  };

  // Compares maps' values with cuts.
  template <Dtype kDtype>
  class MapScan {
   public:
    // Lists the values above the cut; returns how many entries that took. Fetches from `next` on, and moves it on.
    int find(const typename Element<kDtype>::Stored* map, int size, typename Element<kDtype>::Cut cut, Hot* hot,
             const char*& next) {
      if constexpr (kDtype != Dtype::f32) {
        if (cut.negative) return find_above<true>(map, size, cut, hot, next);
      }
      return find_above<false>(map, size, cut, hot, next);
    }

    bool may_be_nonfinite() const { return seen_.may_be_nonfinite(); }

   private:
    using Seen = std::conditional_t<kDtype == Dtype::f32, Squares, HalfMagnitude<kDtype>>;
    static constexpr int kScanned = Prefetch::kScanned / sizeof(typename Element<kDtype>::Stored);

    template <bool kNegativeCut>
    int find_above(const typename Element<kDtype>::Stored* map, int size, typename Element<kDtype>::Cut cut, Hot* hot,
                   const char*& next) {
      Seen seen = seen_;  // a copy, for the compiler keeps no member in a register across the stores
      int count = 0, begin = 0;
      // Whole, without the masks that the last ones take.
      for (; begin + 32 <= size; begin += 32) {
        append_hot(hot, count, begin, above<kNegativeCut>(map + begin, ~0u, cut, seen));
        if (begin % kScanned == 0) Prefetch::scan(next, map + begin);
      }
      if (begin < size) append_hot(hot, count, begin, above<kNegativeCut>(map + begin, valid(begin, size), cut, seen));
      seen_ = seen;
      return count;
    }

    // Which of 32 values are above the cut, of those that are `lanes`.
    template <bool kNegativeCut>
    static uint32_t above(const typename Element<kDtype>::Stored* values, uint32_t lanes,
                          typename Element<kDtype>::Cut cut, Seen& seen) {
      if constexpr (kDtype == Dtype::f32) {
        const __m512 level = _mm512_set1_ps(cut);
        const __mmask16 low_lanes = static_cast<__mmask16>(lanes), high_lanes = static_cast<__mmask16>(lanes >> 16);
        const __m512 low = _mm512_maskz_loadu_ps(low_lanes, values);
        const __m512 high = _mm512_maskz_loadu_ps(high_lanes, values + 16);
        seen.add(low, high);
        // Joined in a mask register: two of them to go through general ones would take as long as comparing.
        return _mm512_kunpackw(_mm512_mask_cmp_ps_mask(high_lanes, high, level, _CMP_GT_OQ),
                               _mm512_mask_cmp_ps_mask(low_lanes, low, level, _CMP_GT_OQ));
      } else {
        const __m512i level = _mm512_set1_epi16(cut.key);
        __m512i v = _mm512_maskz_loadu_epi16(lanes, values);
        seen.add(v);
        if constexpr (kNegativeCut) {
          v = _mm512_xor_si512(v, _mm512_and_si512(_mm512_srai_epi16(v, 15), _mm512_set1_epi16(0x7fff)));
        }
        return _mm512_mask_cmpgt_epi16_mask(lanes, v, level);
      }
    }

    Seen seen_;
  };

  // Compares the values of up to 32 units, side by side, with their thresholds.
  class UnitScan {
   public:
    UnitScan(const float* lowest, int units) {
      for (int g = 0; g < 2; ++g) {
        lanes_[g] = static_cast<__mmask16>(valid(0, units) >> (16 * g));
        lowest_[g] = _mm512_maskz_loadu_ps(lanes_[g], lowest + 16 * g);
      }
    }

    // above[i] = which units' values are above their thresholds at the i-th of `count` pixels that `next` gives.
    template <Dtype kDtype, class Next>
    void compare(int count, Next next, uint32_t* above) {
      if (lanes_[1] == 0xffff) {
        compare_in<kDtype>(0xffff, 0xffff, count, next, above);
      } else {
        compare_in<kDtype>(lanes_[0], lanes_[1], count, next, above);
      }
    }

    bool may_be_nonfinite() const { return seen_.may_be_nonfinite(); }

   private:
    template <Dtype kDtype, class Next>
    __attribute__((always_inline)) void compare_in(__mmask16 low_lanes, __mmask16 high_lanes, int count, Next next,
                                                   uint32_t* above) {
      // Copies, for the compiler keeps no member in a register across the stores.
      const __m512 lowest[2] = {lowest_[0], lowest_[1]};
      Squares seen = seen_;
      for (int i = 0; i < count; ++i) {
        const auto* pixel = next();
        const __m512 low = load_sixteen<kDtype>(pixel, low_lanes), high = load_sixteen<kDtype>(pixel + 16, high_lanes);
        seen.add(low, high);
        above[i] = _mm512_kunpackw(_mm512_mask_cmp_ps_mask(high_lanes, high, lowest[1], _CMP_GT_OQ),
                                   _mm512_mask_cmp_ps_mask(low_lanes, low, lowest[0], _CMP_GT_OQ));
      }
      seen_ = seen;
    }

    __mmask16 lanes_[2];
    __m512 lowest_[2];
    Squares seen_;
  };

  // Lists those of sixteen words from the first on that are touched, 2^kStep from one to the next.
  template <int kStep>
  static void append_items(Item* items, Item first, uint32_t touched) {
    const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i words = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                                           _mm512_slli_epi32(numbers, kStep));
    // Compressed into a register first: compressing stores take many times as long.
    _mm512_storeu_si512(items, _mm512_maskz_compress_epi32(static_cast<__mmask16>(touched), words));
  }

  static constexpr int kKeptAtOnce = 8;  // words found

  // Copies those of the first eight entries, or fewer, that have pixels; returns how many. Writes eight in any case; `kept`
  // may lie at the first one or before it.
  static int64_t keep(const Found* found, int64_t count, Found* kept) {
    const __m512i entries = _mm512_maskz_loadu_epi64(static_cast<__mmask8>(first_sixteen(count)), found);
    const __mmask8 some = _mm512_test_epi64_mask(entries, _mm512_set1_epi64(0xffffffff));
    _mm512_storeu_si512(kept, _mm512_maskz_compress_epi64(some, entries));
    return _mm_popcnt_u32(some);
  }

  // Popcounts of 64 bytes; without BITALG, from a table of the 16 nibbles.
  static __m512i byte_popcounts(__m512i v) {
    if constexpr (kBitalg) {
      return _mm512_popcnt_epi8(v);
    } else {
      const __m512i counts = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
      const __m512i nibble = _mm512_set1_epi8(0x0f);
      return _mm512_add_epi8(_mm512_shuffle_epi8(counts, _mm512_and_si512(v, nibble)),
                             _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble)));
    }
  }

  // Sets or adds to the totals: the bits that pairs of words share with each of 32 masks.
  template <bool kAdd>
  static void count_bits(const uint8_t* table, int64_t row_step, const Found* found, int count, uint32_t* totals) {
    // A pair's first row in the lower half of a register, its second in the upper half.
    const __m512i rows = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi8(1), 1);
    __m512i sums = _mm512_setzero_si512();
    for (int i = 0; i < count; ++i) {
      const uint8_t* const first = table + (found[i] >> 32) * kMaskBlock;
      const __m512i masks =
          _mm512_inserti64x4(_mm512_castsi256_si512(Common::load(first)), Common::load(first + row_step), 1);
      const __m512i words = _mm512_shuffle_epi8(_mm512_set1_epi32(static_cast<int>(found[i])), rows);
      sums = _mm512_add_epi8(sums, byte_popcounts(_mm512_and_si512(masks, words)));
    }
    const __m256i of_first = _mm512_castsi512_si256(sums), of_second = _mm512_extracti64x4_epi64(sums, 1);
    Common::template store_totals<kAdd>(_mm256_add_epi8(of_first, of_second), totals);
  }

  // Which of 64 elements equal `value`, a bit each.
  template <class T>
  static uint64_t equal(const T* elements, T value) {
    uint64_t bits = 0;
    if constexpr (sizeof(T) == 1) {
      bits = _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(elements), _mm512_set1_epi8(static_cast<char>(value)));
    } else if constexpr (sizeof(T) == 2) {
      const __m512i wanted = _mm512_set1_epi16(static_cast<short>(value));
      for (int i = 0; i < 64; i += 32) {
        bits |= static_cast<uint64_t>(_mm512_cmpeq_epi16_mask(_mm512_loadu_si512(elements + i), wanted)) << i;
      }
    } else if constexpr (sizeof(T) == 4) {
      const __m512i wanted = _mm512_set1_epi32(static_cast<int>(value));
      for (int i = 0; i < 64; i += 16) {
        bits |= static_cast<uint64_t>(_mm512_cmpeq_epi32_mask(_mm512_loadu_si512(elements + i), wanted)) << i;
      }
    } else {
      const __m512i wanted = _mm512_set1_epi64(static_cast<long long>(value));
      for (int i = 0; i < 64; i += 8) {
        bits |= static_cast<uint64_t>(_mm512_cmpeq_epi64_mask(_mm512_loadu_si512(elements + i), wanted)) << i;
      }
    }
    return bits;
  }

  static __mmask16 first_sixteen(int64_t count) {
    return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
  }

  // Sixteen values, as many as there are, the others 0.
  template <Dtype kDtype>
  static __m512 load_sixteen(const typename Element<kDtype>::Stored* values, __mmask16 valid) {
    if constexpr (kDtype == Dtype::f32) {
      return _mm512_maskz_loadu_ps(valid, values);
    } else {
      return decode_sixteen<kDtype>(_mm256_maskz_loadu_epi16(valid, values));
    }
  }

  template <Dtype kDtype>
  static __m512 decode_sixteen(__m256i halves) {
    if constexpr (kDtype == Dtype::f16) return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }

  static __m512i larger_magnitude(__m512i largest, __m512 values) {
    const __m512i magnitude = _mm512_set1_epi32(static_cast<int>(kMagnitude));
    return _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(values), magnitude));
  }

  static bool reaches_nonfinite(__m512i largest) {
    return _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(static_cast<int>(kNonfinite))) != 0;
  }

  // Compressed in a register first: compressing straight to memory is many times slower.
  static int64_t append(__m512 values, __mmask16 mask, float* out) {
    _mm512_storeu_ps(out, _mm512_maskz_compress_ps(mask, values));
    return _mm_popcnt_u32(mask);
  }

  template <Dtype kDtype>
  static int64_t append_above(const typename Element<kDtype>::Stored* values, int64_t count, float bound, float* out,
                              bool& nonfinite) {
    const __m512 level = _mm512_set1_ps(bound), limit = _mm512_set1_ps(kLeastNonfinite);
    __m512i largest = _mm512_setzero_si512();
    float* const begin = out;
    for (int64_t i = 0; i < count; i += 32) {
      const __mmask16 valid_low = first_sixteen(count - i);
      const __mmask16 valid_high = first_sixteen(std::max<int64_t>(count - i - 16, 0));
      const __m512 low = load_sixteen<kDtype>(values + i, valid_low);
      const __m512 high = load_sixteen<kDtype>(values + i + 16, valid_high);
      largest = larger_magnitude(larger_magnitude(largest, low), high);
      const __mmask16 above_low = valid_low & _mm512_cmp_ps_mask(low, level, _CMP_GT_OQ);
      const __mmask16 above_high = valid_high & _mm512_cmp_ps_mask(high, level, _CMP_GT_OQ);
      if ((above_low | above_high) == 0) continue;
      out += append(low, above_low & _mm512_cmp_ps_mask(low, limit, _CMP_LT_OQ), out);
      out += append(high, above_high & _mm512_cmp_ps_mask(high, limit, _CMP_LT_OQ), out);
    }
    nonfinite = reaches_nonfinite(largest);
    return out - begin;
  }

  static int64_t count_above(const float* values, int64_t count, float bound) {
    const __m512 level = _mm512_set1_ps(bound);
    int64_t above = 0;
    for (int64_t i = 0; i < count; i += 16) {
      const __mmask16 valid = first_sixteen(count - i);
      const __m512 part = _mm512_maskz_loadu_ps(valid, values + i);
      above += _mm_popcnt_u32(valid & _mm512_cmp_ps_mask(part, level, _CMP_GT_OQ));
    }
    return above;
  }

  template <Dtype kDtype>
  static bool above_each(const typename Element<kDtype>::Stored* values, const float* bounds, int64_t count,
                         uint32_t* hits) {
    __m512i largest = _mm512_setzero_si512();
    for (int64_t i = 0; i < count; i += 32) {
      uint32_t word = 0;
      for (int j = 0; j < 32 && i + j < count; j += 16) {
        const __mmask16 valid = first_sixteen(count - i - j);
        const __m512 part = load_sixteen<kDtype>(values + i + j, valid);
        largest = larger_magnitude(largest, part);
        const __m512 levels = _mm512_maskz_loadu_ps(valid, bounds + i + j);
        word |= static_cast<uint32_t>(valid & _mm512_cmp_ps_mask(part, levels, _CMP_GT_OQ)) << j;
      }
      hits[i / 32] = word;
    }
    return reaches_nonfinite(largest);
  }
};

}  // namespace pydissect
