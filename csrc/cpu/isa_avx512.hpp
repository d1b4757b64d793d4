// AVX-512 (F, BW, DQ, VL) with BITALG, which has popcounts of 16-bit lanes.
#pragma once

#include <immintrin.h>

#include "../core/maps.hpp"

namespace pydissect {

struct Avx512 {
  using Lanes = __m512;

  static Lanes load(const float* source) { return _mm512_loadu_ps(source); }

  static Lanes broadcast(float value) { return _mm512_set1_ps(value); }

  static uint16_t greater(Lanes value, float threshold) {
    return _mm512_cmp_ps_mask(value, _mm512_set1_ps(threshold), _CMP_GT_OQ);
  }

  static void gather(const float* base, int span, const int32_t* left, const int32_t* right, Lanes& left_values,
                     Lanes& right_values) {
    const __m512i left_index = _mm512_loadu_si512(left), right_index = _mm512_loadu_si512(right);
    if (span <= 16) {
      const __m512 values = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << span) - 1), base);
      left_values = _mm512_permutexvar_ps(left_index, values);
      right_values = _mm512_permutexvar_ps(right_index, values);
    } else {
      left_values = _mm512_i32gather_ps(left_index, base, 4);
      right_values = _mm512_i32gather_ps(right_index, base, 4);
    }
  }

  static Scan scan(const float* map, int size, float threshold, uint64_t* bits) {
    const __m512 level = _mm512_set1_ps(threshold);
    const __m512i magnitude = _mm512_set1_epi32(static_cast<int>(kMagnitude));
    __m512i largest = _mm512_setzero_si512();
    uint64_t any = 0;
    for (int begin = 0; begin < size; begin += 64) {
      uint64_t chunk = 0;
      for (int i = 0; i < 64 && begin + i < size; i += 16) {
        const int left = size - begin - i;
        const __mmask16 valid = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
        const __m512 values = _mm512_maskz_loadu_ps(valid, map + begin + i);
        chunk |= static_cast<uint64_t>(_mm512_mask_cmp_ps_mask(valid, values, level, _CMP_GT_OQ)) << i;
        largest = _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(values), magnitude));
      }
      bits[begin / 64] = chunk;
      any |= chunk;
    }
    const __m512i limit = _mm512_set1_epi32(static_cast<int>(kNonfinite));
    return {any != 0, _mm512_cmpge_epu32_mask(largest, limit) != 0};
  }

  template <Dtype kDtype>
  static void decode(const uint16_t* source, int size, float* out) {
    for (int i = 0; i < size; i += 16) {
      const int left = size - i;
      const __mmask16 valid = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
      const __m256i halves = _mm256_maskz_loadu_epi16(valid, source + i);
      if constexpr (kDtype == Dtype::f16) {
        _mm512_mask_storeu_ps(out + i, valid, _mm512_cvtph_ps(halves));
      } else {
        const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
        _mm512_mask_storeu_epi32(out + i, valid, wide);
      }
    }
  }

  static void add_popcounts(const uint16_t* table, const int32_t* places, const uint16_t* words, int count,
                            uint32_t* totals) {
    __m512i sums = _mm512_setzero_si512();
    for (int i = 0; i < count; ++i) {
      const __m512i row = _mm512_load_si512(table + static_cast<int64_t>(places[i]) * 32);
      const __m512i shared = _mm512_and_si512(row, _mm512_set1_epi16(static_cast<short>(words[i])));
      sums = _mm512_add_epi16(sums, _mm512_popcnt_epi16(shared));
    }
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(sums));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(sums, 1));
    _mm512_storeu_si512(totals, _mm512_add_epi32(_mm512_loadu_si512(totals), low));
    _mm512_storeu_si512(totals + 16, _mm512_add_epi32(_mm512_loadu_si512(totals + 16), high));
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
      const __m256i halves = _mm256_maskz_loadu_epi16(valid, values);
      if constexpr (kDtype == Dtype::f16) return _mm512_cvtph_ps(halves);
      return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    }
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
