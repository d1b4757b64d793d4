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
};

}  // namespace pydissect
