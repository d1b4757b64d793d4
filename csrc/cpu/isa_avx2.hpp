// AVX2 with F16C: sixteen lanes are two registers.
#pragma once

#include <immintrin.h>

#include "../core/maps.hpp"

namespace pydissect {

// For each mask of eight lanes, the numbers of its lanes, a byte each.
struct LaneNumbers {
  uint64_t of[256] = {};
  constexpr LaneNumbers() {
    for (int mask = 0; mask < 256; ++mask) {
      for (int lane = 7; lane >= 0; --lane) {
        if (mask >> lane & 1) of[mask] = of[mask] << 8 | static_cast<uint64_t>(lane);
      }
    }
  }
};
constexpr LaneNumbers kLaneNumbers;

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

  static int64_t append(__m256 values, uint32_t mask, float* out) {
    const __m128i lanes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kLaneNumbers.of[mask]));
    _mm256_storeu_ps(out, _mm256_permutevar8x32_ps(values, _mm256_cvtepu8_epi32(lanes)));
    return _mm_popcnt_u32(mask);
  }

  // The finite lanes above a bound of at least -2^126.
  static uint32_t finite_above(__m256 values, __m256 bound) {
    return greater(values, bound) & greater(_mm256_set1_ps(kLeastNonfinite), values);
  }

  template <Dtype kDtype>
  static __m256 decode_eight(__m128i halves) {
    if constexpr (kDtype == Dtype::f16) return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }

  static __m256i larger_magnitude(__m256i largest, __m256 values) {
    const __m256i magnitude = _mm256_set1_epi32(static_cast<int>(kMagnitude));
    return _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(values), magnitude));
  }

  static bool reaches_nonfinite(__m256i largest) {
    const __m256i reached = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(static_cast<int>(kNonfinite) - 1));
    return _mm256_movemask_epi8(reached) != 0;
  }

  template <Dtype kDtype>
  static int64_t append_above(const typename Element<kDtype>::Stored* values, int64_t count, float bound, float* out,
                              bool& nonfinite) {
    if constexpr (kDtype == Dtype::f32) {
      return append_floats_above(values, count, bound, out, nonfinite);
    } else {
      return append_halves_above<kDtype>(values, count, bound, out, nonfinite);
    }
  }

  static int64_t append_floats_above(const float* values, int64_t count, float bound, float* out, bool& nonfinite) {
    const __m256 level = _mm256_set1_ps(bound);
    __m256i largest = _mm256_setzero_si256();
    float* const begin = out;
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      __m256 part[4];
      __m256 above = _mm256_setzero_ps();
      for (int j = 0; j < 4; ++j) {
        part[j] = _mm256_loadu_ps(values + i + 8 * j);
        above = _mm256_or_ps(above, _mm256_cmp_ps(part[j], level, _CMP_GT_OQ));
        largest = larger_magnitude(largest, part[j]);
      }
      if (_mm256_movemask_ps(above) == 0) continue;
      for (int j = 0; j < 4; ++j) out += append(part[j], finite_above(part[j], level), out);
    }
    for (; i < count; i += 8) {
      const int left = static_cast<int>(std::min<int64_t>(count - i, 8));
      const __m256 part = _mm256_maskload_ps(values + i, first_lanes(left));
      largest = larger_magnitude(largest, part);
      const uint32_t above = finite_above(part, level) & ((1u << left) - 1);
      if (above) out += append(part, above, out);
    }
    nonfinite = reaches_nonfinite(largest);
    return out - begin;
  }

  // Sixteen halves a comparison, as integers; only where one is above are they decoded.
  template <Dtype kDtype>
  static int64_t append_halves_above(const uint16_t* values, int64_t count, float bound, float* out,
                                     bool& nonfinite) {
    const __m256 level = _mm256_set1_ps(bound);
    const __m256i order_level = _mm256_set1_epi16(floor_half_order<kDtype>(bound));
    __m256i largest = _mm256_setzero_si256();
    float* const begin = out;
    const auto orders = [&](__m256i halves) {
      const __m256i magnitudes = _mm256_and_si256(halves, _mm256_set1_epi16(0x7fff));
      largest = _mm256_max_epi16(largest, magnitudes);
      return _mm256_sign_epi16(magnitudes, halves);
    };
    const auto append_sixteen = [&](__m256i halves, uint32_t valid) {
      const __m256 low = decode_eight<kDtype>(_mm256_castsi256_si128(halves));
      const __m256 high = decode_eight<kDtype>(_mm256_extracti128_si256(halves, 1));
      out += append(low, finite_above(low, level) & valid & 0xff, out);
      out += append(high, finite_above(high, level) & valid >> 8, out);
    };
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i + 16));
      const __m256i above =
          _mm256_or_si256(_mm256_cmpgt_epi16(orders(a), order_level), _mm256_cmpgt_epi16(orders(b), order_level));
      if (_mm256_movemask_epi8(above) == 0) continue;
      append_sixteen(a, 0xffff);
      append_sixteen(b, 0xffff);
    }
    for (; i < count; i += 16) {
      uint32_t valid = 0xffff;
      alignas(32) uint16_t copy[16] = {};
      const uint16_t* source = values + i;
      if (const int left = static_cast<int>(count - i); left < 16) {
        valid = (1u << left) - 1;
        if (count >= 16) {
          source = values + count - 16;
          valid = 0xffff & ~(0xffffu >> left);
        } else {
          std::copy_n(source, left, copy);
          source = copy;
        }
      }
      const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
      if (_mm256_movemask_epi8(_mm256_cmpgt_epi16(orders(halves), order_level)) != 0) append_sixteen(halves, valid);
    }
    const __m256i reached =
        _mm256_cmpgt_epi16(largest, _mm256_set1_epi16(static_cast<int16_t>(kNonfiniteHalf<kDtype> - 1)));
    nonfinite = _mm256_movemask_epi8(reached) != 0;
    return out - begin;
  }

  static int64_t count_above(const float* values, int64_t count, float bound) {
    const __m256 level = _mm256_set1_ps(bound);
    __m256i sums[4] = {};
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      for (int j = 0; j < 4; ++j) {
        const __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(values + i + 8 * j), level, _CMP_GT_OQ);
        sums[j] = _mm256_sub_epi32(sums[j], _mm256_castps_si256(above));
      }
    }
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3]));
    const __m256i pairs = _mm256_add_epi64(_mm256_and_si256(sum, _mm256_set1_epi64x(0xffffffff)),
                                           _mm256_srli_epi64(sum, 32));
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    int64_t above = _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1);
    for (; i < count; ++i) above += values[i] > bound;
    return above;
  }

  template <Dtype kDtype>
  static __m256 load_eight(const typename Element<kDtype>::Stored* values) {
    if constexpr (kDtype == Dtype::f32) {
      return _mm256_loadu_ps(values);
    } else {
      return decode_eight<kDtype>(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
    }
  }

  template <Dtype kDtype>
  static bool above_each(const typename Element<kDtype>::Stored* values, const float* bounds, int64_t count,
                         uint32_t* hits) {
    __m256i largest = _mm256_setzero_si256();
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      uint32_t word = 0;
      for (int j = 0; j < 32; j += 8) {
        const __m256 part = load_eight<kDtype>(values + i + j);
        largest = larger_magnitude(largest, part);
        word |= greater(part, _mm256_loadu_ps(bounds + i + j)) << j;
      }
      hits[i / 32] = word;
    }
    bool nonfinite = reaches_nonfinite(largest);
    if (i < count) hits[i / 32] = 0;
    for (int j = 0; i + j < count; ++j) {
      const float value = Element<kDtype>::decode(values[i + j]);
      nonfinite |= is_nonfinite(value);
      hits[i / 32] |= static_cast<uint32_t>(value > bounds[i + j]) << j;
    }
    return nonfinite;
  }
};

}  // namespace pydissect
