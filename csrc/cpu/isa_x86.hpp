// What the instruction sets with 256-bit registers share. A template over the set, so that each has a copy of its own.
#pragma once

#include <immintrin.h>

#include "../core/words.hpp"

namespace pydissect {

template <class Isa>
struct X86 {
  static __m256i load(const void* source) { return _mm256_loadu_si256(static_cast<const __m256i*>(source)); }

  static void store(void* target, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(target), value); }

  template <Dtype kDtype>
  static __m256 decode_eight(__m128i halves) {
    if constexpr (kDtype == Dtype::f16) return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }

  template <Dtype kDtype>
  static __m256 load_floats(const typename Element<kDtype>::Stored* source) {
    if constexpr (kDtype == Dtype::f32) {
      return _mm256_loadu_ps(source);
    } else {
      return decode_eight<kDtype>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
    }
  }

  template <Dtype kDtype>
  static float decode(typename Element<kDtype>::Stored value) {
    if constexpr (kDtype == Dtype::f16) return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(value)));
    return Element<kDtype>::decode(value);
  }

  // Of the pairs of pixel rows that read a source row, at a column: which are above a threshold?
  static uint32_t pairs_above(const RowReaders& readers, float above, float here, float below, float threshold) {
    const __m256 level = _mm256_set1_ps(threshold), middle = _mm256_set1_ps(here);
    const __m256 from_above = _mm256_castsi256_ps(load(readers.above));
    const Lerp<__m256> column(_mm256_blendv_ps(middle, _mm256_set1_ps(above), from_above),
                              _mm256_blendv_ps(_mm256_set1_ps(below), middle, from_above));
    __m256 flags = _mm256_setzero_ps();
    for (const float* fractions : readers.fractions) {
      flags = _mm256_or_ps(flags, _mm256_cmp_ps(column.at(_mm256_loadu_ps(fractions)), level, _CMP_GT_OQ));
    }
    return static_cast<uint32_t>(_mm256_movemask_ps(flags));
  }

  // out[p] = the bytes `place + p` of the rows, side by side, for 16 places: the transposes of the
  // upper and the lower 16 rows, each in its half of the registers.
  static void transpose_masks(const uint8_t* const* rows, int64_t place, uint8_t* out) {
    __m256i a[16], b[16];
    for (int i = 0; i < 16; ++i) {
      const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + place));
      const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[16 + i] + place));
      a[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    // Interleaving row i with row i + 8, four times over, sorts the bytes by place.
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 8]);
      b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 8]);
    }
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = _mm256_unpacklo_epi8(b[i], b[i + 8]);
      a[2 * i + 1] = _mm256_unpackhi_epi8(b[i], b[i + 8]);
    }
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 8]);
      b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 8]);
    }
    for (int i = 0; i < 8; ++i) {
      store(out + (2 * i) * kMaskBlock, _mm256_unpacklo_epi8(b[i], b[i + 8]));
      store(out + (2 * i + 1) * kMaskBlock, _mm256_unpackhi_epi8(b[i], b[i + 8]));
    }
  }

  // Transposes 32 x 32 bits: bit j of rows[i] becomes bit i of rows[j].
  static void transpose_bits(uint32_t (&rows)[32]) {
    // bytes[k] = the bytes k of all rows: of the first 16 in the lower half, of the others in the upper half.
    __m256i bytes[4];
    const __m256i together = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                              0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (int i = 0; i < 4; ++i) {
      const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + 4 * i));
      const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + 16 + 4 * i));
      bytes[i] = _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), together);
    }
    const __m256i a = _mm256_unpacklo_epi32(bytes[0], bytes[1]), b = _mm256_unpackhi_epi32(bytes[0], bytes[1]);
    const __m256i c = _mm256_unpacklo_epi32(bytes[2], bytes[3]), d = _mm256_unpackhi_epi32(bytes[2], bytes[3]);
    bytes[0] = _mm256_unpacklo_epi64(a, c);
    bytes[1] = _mm256_unpackhi_epi64(a, c);
    bytes[2] = _mm256_unpacklo_epi64(b, d);
    bytes[3] = _mm256_unpackhi_epi64(b, d);
    for (int k = 0; k < 4; ++k) {
      // The highest bit of every byte, eight times over.
      for (int j = 7; j >= 0; --j, bytes[k] = _mm256_add_epi8(bytes[k], bytes[k])) {
        rows[8 * k + j] = static_cast<uint32_t>(_mm256_movemask_epi8(bytes[k]));
      }
    }
  }

  // Sets the totals to 32 bytes' values, or adds these.
  template <bool kAdd>
  static void store_totals(__m256i sums, uint32_t* totals) {
    const __m128i halves[2] = {_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1)};
    for (int m = 0; m < kMaskBlock; m += 8) {
      const __m128i half = halves[m / 16];
      __m256i wide = _mm256_cvtepu8_epi32(m % 16 ? _mm_unpackhi_epi64(half, half) : half);
      if constexpr (kAdd) wide = _mm256_add_epi32(load(totals + m), wide);
      store(totals + m, wide);
    }
  }
};

}  // namespace pydissect
