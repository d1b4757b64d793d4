// AVX2 with F16C: sixteen lanes are two registers.
#pragma once

#include <immintrin.h>

#include "../core/maps.hpp"

namespace pydissect {

struct Avx2 {
  struct Lanes {
    __m256 low, high;
    friend Lanes operator+(Lanes a, Lanes b) { return {a.low + b.low, a.high + b.high}; }
    friend Lanes operator-(Lanes a, Lanes b) { return {a.low - b.low, a.high - b.high}; }
    friend Lanes operator*(Lanes a, Lanes b) { return {a.low * b.low, a.high * b.high}; }
  };

  static Lanes load(const float* source) { return {_mm256_loadu_ps(source), _mm256_loadu_ps(source + 8)}; }

  static Lanes broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }

  static uint32_t greater(__m256 value, __m256 threshold) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(value, threshold, _CMP_GT_OQ)));
  }

  static uint16_t greater(Lanes value, float threshold) {
    const __m256 level = _mm256_set1_ps(threshold);
    return static_cast<uint16_t>(greater(value.low, level) | greater(value.high, level) << 8);
  }

  static __m256i indices(const int32_t* source) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
  }

  static void gather(const float* base, int, const int32_t* left, const int32_t* right, Lanes& left_values,
                     Lanes& right_values) {
    left_values = {_mm256_i32gather_ps(base, indices(left), 4), _mm256_i32gather_ps(base, indices(left + 8), 4)};
    right_values = {_mm256_i32gather_ps(base, indices(right), 4),
                    _mm256_i32gather_ps(base, indices(right + 8), 4)};
  }

  // The first `count` (0 to 8) lanes of a mask for masked loads.
  static __m256i first_lanes(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  static Scan scan(const float* map, int size, float threshold, uint64_t* bits) {
    const __m256 level = _mm256_set1_ps(threshold);
    const __m256i magnitude = _mm256_set1_epi32(static_cast<int>(kMagnitude));
    __m256i largest = _mm256_setzero_si256();
    uint64_t any = 0;
    for (int begin = 0; begin < size; begin += 64) {
      const int count = std::min(size - begin, 64);
      uint64_t chunk = 0;
      for (int i = 0; i < count; i += 8) {
        __m256 values;
        uint64_t valid = 0xff;
        if (count - i >= 8) {
          values = _mm256_loadu_ps(map + begin + i);
        } else {
          values = _mm256_maskload_ps(map + begin + i, first_lanes(count - i));
          valid = (1u << (count - i)) - 1;
        }
        chunk |= (greater(values, level) & valid) << i;
        largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(values), magnitude));
      }
      bits[begin / 64] = chunk;
      any |= chunk;
    }
    // The magnitudes have no sign bit, so the signed comparison orders them.
    const __m256i reached = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(static_cast<int>(kNonfinite) - 1));
    return {any != 0, _mm256_movemask_epi8(reached) != 0};
  }

  template <Dtype kDtype>
  static void decode(const uint16_t* source, int size, float* out) {
    int i = 0;
    for (; i + 8 <= size; i += 8) {
      const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i));
      if constexpr (kDtype == Dtype::f16) {
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
      } else {
        const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), wide);
      }
    }
    for (; i < size; ++i) out[i] = Element<kDtype>::decode(source[i]);
  }

  // Popcounts of 32 bytes, from a table of the 16 nibbles.
  static __m256i byte_popcounts(__m256i v) {
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                            0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    return _mm256_add_epi8(_mm256_shuffle_epi8(counts, _mm256_and_si256(v, nibble)),
                           _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble)));
  }

  static void add_popcounts(const uint16_t* table, const int32_t* places, const uint16_t* words, int count,
                            uint32_t* totals) {
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int i = 0; i < count; ++i) {
      const __m256i* row = reinterpret_cast<const __m256i*>(table + static_cast<int64_t>(places[i]) * 32);
      const __m256i word = _mm256_set1_epi16(static_cast<short>(words[i]));
      const __m256i a = byte_popcounts(_mm256_and_si256(_mm256_loadu_si256(row), word));
      const __m256i b = byte_popcounts(_mm256_and_si256(_mm256_loadu_si256(row + 1), word));
      low = _mm256_add_epi16(low, _mm256_maddubs_epi16(a, ones));
      high = _mm256_add_epi16(high, _mm256_maddubs_epi16(b, ones));
    }
    alignas(32) uint16_t sums[32];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 16), high);
    for (int m = 0; m < 32; ++m) totals[m] += sums[m];
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
