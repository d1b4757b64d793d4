// AVX2 with F16C.
#pragma once

#include "isa_x86.hpp"

namespace pydissect {

struct Avx2 : X86<Avx2> {
  using Lanes = __m256;
  static constexpr int kRows = 1;

  // Eight values, for every row.
  static Lanes load_word(const float* source) { return _mm256_loadu_ps(source); }

  // A value for each lane.
  static Lanes load_lanes(const float* source) { return load_word(source); }

  static uint32_t greater(__m256 value, __m256 threshold) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(value, threshold, _CMP_GT_OQ)));
  }

  // The bits of two rows' words, the first row's lowest.
  static uint32_t above(const Lanes (&values)[2], float threshold) {
    const __m256 level = _mm256_set1_ps(threshold);
    return greater(values[0], level) | greater(values[1], level) << 8;
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
  static Lanes window(const typename Element<kDtype>::Stored* source) {
    return load_floats<kDtype>(source);
  }

  static Lanes pick(Lanes window, const int32_t* index) {
    return _mm256_permutevar8x32_ps(window, load(index));
  }

  // Compares maps' values with cuts, and watches out for values that are not finite.
  template <Dtype kDtype>
  class MapScan {
   public:
    using Stored = typename Element<kDtype>::Stored;

    // Lists the values above the cut; returns how many entries that took. Fetches from `next` on, and moves it on.
    int find(const Stored* map, int size, typename Element<kDtype>::Cut cut, Hot* hot, const char*& next) {
      if constexpr (kDtype == Dtype::f32) {
        const uint32_t bits = bits_of(cut);
        if (bits >> 31 || size < kLook) return find_above<false>(map, 0, size, _mm256_set1_epi32(bits), hot, 0);
        return find_in_looks(map, size, _mm256_set1_epi32(std::min(bits, kNonfinite - 1)), hot, next);
      } else {
        if (cut.negative) return find_above<true>(map, 0, size, _mm256_set1_epi16(cut.key), hot, 0);
        const int16_t finite = std::min(cut.key, static_cast<int16_t>(kNonfiniteHalf<kDtype> - 1));
        const __m256i key = _mm256_set1_epi16(finite);
        return size < kLook ? find_above<false>(map, 0, size, key, hot, 0) : find_in_looks(map, size, key, hot, next);
      }
    }

    bool may_be_nonfinite() const {
      // Magnitudes have no sign bit, so that signed comparisons order them.
      if constexpr (kDtype == Dtype::f32) {
        const __m256i most = _mm256_and_si256(most_, _mm256_set1_epi32(static_cast<int>(kMagnitude)));
        return reaches_nonfinite(_mm256_max_epi32(largest_, negative(most_, most)));
      } else {
        const __m256i least = _mm256_set1_epi16(static_cast<int16_t>(kNonfiniteHalf<kDtype> - 1));
        const __m256i most = _mm256_and_si256(most_, _mm256_set1_epi16(0x7fff));
        return byte_mask(_mm256_cmpgt_epi16(_mm256_max_epi16(largest_, negative(most_, most)), least)) != 0;
      }
    }

   private:
    static constexpr int kLanes = 32 / sizeof(Stored);
    static constexpr int kLook = 8 * kLanes;  // values looked at together
    static constexpr int kScanned = Prefetch::kScanned / sizeof(Stored);

    // The numbers whose sign bit was set, others zero.
    static __m256i negative(__m256i bits, __m256i numbers) {
      if constexpr (kDtype == Dtype::f32) return _mm256_and_si256(_mm256_srai_epi32(bits, 31), numbers);
      return _mm256_and_si256(_mm256_srai_epi16(bits, 15), numbers);
    }

    // Looks at many values at once, most of which hold none above the cut: the largest, taken as integers, tells. It
    // also shows positive ones that are not finite, since the cut is; of the negative ones, taken as unsigned, those
    // are the largest.
    int find_in_looks(const Stored* map, int size, __m256i cut, Hot* hot, const char*& next) {
      __m256i most = most_;
      int count = 0;
      for (int begin = 0; begin < size;) {
        // As many looks as a mask has bits; the last one ends where the map does.
        const int looks = std::min((size - begin + kLook - 1) / kLook, 64);
        uint64_t hot_looks = 0;
        for (int look = 0; look < looks; ++look) {
          const Stored* values = map + std::min(begin + look * kLook, size - kLook);
          for (int i = 0; i < kLook; i += kScanned) Prefetch::scan(next, values + i);
          __m256i largest = load(values);
          most = larger_unsigned(most, largest);
          for (int i = 1; i < 8; ++i) {
            const __m256i v = load(values + i * kLanes);
            largest = larger(largest, v);
            most = larger_unsigned(most, v);
          }
          hot_looks |= static_cast<uint64_t>(byte_mask(exceeding(largest, cut)) != 0) << look;
        }
        for (; hot_looks; hot_looks &= hot_looks - 1) {
          const int first = begin + __builtin_ctzll(hot_looks) * kLook;
          count = find_above<false>(map, first, std::min(first + kLook, size), cut, hot, count);
        }
        begin += looks * kLook;
      }
      most_ = most;
      return count;
    }

    static __m256i larger(__m256i a, __m256i b) {
      return sizeof(Stored) == 4 ? _mm256_max_epi32(a, b) : _mm256_max_epi16(a, b);
    }

    static __m256i larger_unsigned(__m256i a, __m256i b) {
      return sizeof(Stored) == 4 ? _mm256_max_epu32(a, b) : _mm256_max_epu16(a, b);
    }

    static __m256i exceeding(__m256i a, __m256i b) {
      return sizeof(Stored) == 4 ? _mm256_cmpgt_epi32(a, b) : _mm256_cmpgt_epi16(a, b);
    }

    // Lists those of the values map[begin .. end) that are above the cut.
    template <bool kNegativeCut>
    int find_above(const Stored* map, int begin, int end, __m256i cut, Hot* hot, int count) {
      __m256i largest = largest_;
      for (; begin + 32 <= end; begin += 32) {
        append_hot(hot, count, begin, above<kNegativeCut>(map + begin, cut, largest));
      }
      if (begin < end) {
        // The last values once more with some before them, or with zeros after them.
        Stored last[32] = {};
        if (end < 32) {
          std::copy(map, map + end, last);
          append_hot(hot, count, 0, above<kNegativeCut>(last, cut, largest) & ((1u << end) - 1));
        } else {
          append_hot(hot, count, begin, above<kNegativeCut>(map + end - 32, cut, largest) >> (32 - (end - begin)));
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
        return byte_mask(_mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order));
      } else {
        const __m256i packed = _mm256_packs_epi16(compare<kNegativeCut>(values, cut, largest),
                                                  compare<kNegativeCut>(values + 16, cut, largest));
        return byte_mask(_mm256_permute4x64_epi64(packed, 0xd8));
      }
    }

    static __m256i compare(const float* values, __m256i cut, __m256i& largest) {
      const __m256 v = _mm256_loadu_ps(values);
      largest = larger_magnitude(largest, v);
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

    __m256i most_ = _mm256_setzero_si256();     // as unsigned integers
    __m256i largest_ = _mm256_setzero_si256();  // magnitude of the values compared one by one
  };

  // Compares the values of up to 32 units, side by side, with their thresholds.
  class UnitScan {
   public:
    UnitScan(const float* lowest, int units) : groups_((units + 7) / 8), last_(units - 8 * (groups_ - 1)) {
      float padded[32] = {};
      std::copy(lowest, lowest + units, padded);
      for (int g = 0; g < 4; ++g) lowest_[g] = _mm256_loadu_ps(padded + 8 * g);
    }

    // above[i] = which units' values are above their thresholds at the i-th of `count` pixels that `next` gives.
    template <Dtype kDtype, class Next>
    void compare(int count, Next next, uint32_t* above) {
      if (groups_ == 4 && last_ == 8) {
        // Copies, for the compiler keeps no member in a register across the stores.
        const __m256 lowest[4] = {lowest_[0], lowest_[1], lowest_[2], lowest_[3]};
        __m256i largest = largest_;
        for (int i = 0; i < count; ++i) {
          const auto* pixel = next();
          uint32_t bits = 0;
          for (int g = 0; g < 4; ++g) bits |= group<kDtype>(pixel + 8 * g, lowest[g], largest) << (8 * g);
          above[i] = bits;
        }
        largest_ = largest;
        return;
      }
      const int last_group = groups_ - 1;
      for (int i = 0; i < count; ++i) {
        const auto* pixel = next();
        typename Element<kDtype>::Stored last[8] = {};
        std::copy_n(pixel + 8 * last_group, last_, last);
        uint32_t bits = (group<kDtype>(last, lowest_[last_group], largest_) & ((1u << last_) - 1)) << (8 * last_group);
        for (int g = 0; g < last_group; ++g) bits |= group<kDtype>(pixel + 8 * g, lowest_[g], largest_) << (8 * g);
        above[i] = bits;
      }
    }

    bool may_be_nonfinite() const { return reaches_nonfinite(largest_); }

   private:
    template <Dtype kDtype>
    static uint32_t group(const typename Element<kDtype>::Stored* values, __m256 lowest, __m256i& largest) {
      const __m256 v = load_floats<kDtype>(values);
      largest = larger_magnitude(largest, v);
      return greater(v, lowest);
    }

    int groups_, last_;
    __m256 lowest_[4];
    __m256i largest_ = _mm256_setzero_si256();
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

  static __m128i places_of_bits(uint32_t byte) {
    static constexpr Places kPlaces;
    return _mm_cvtsi64_si128(static_cast<int64_t>(kPlaces.of[byte]));
  }

  // Lists those of sixteen words from the first on that are touched, 2^kStep from one to the next.
  template <int kStep>
  static void append_items(Item* items, Item first, uint32_t touched) {
    for (int half = 0; half < 2; ++half, touched >>= 8, first += 8 << kStep) {
      const __m256i words = _mm256_slli_epi32(_mm256_cvtepu8_epi32(places_of_bits(touched & 0xff)), kStep);
      store(items, _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(first)), words));
      items += _mm_popcnt_u32(touched & 0xff);
    }
  }

  // Decodes a map; reads and writes up to seven values more.
  template <Dtype kDtype>
  static void decode_map(const typename Element<kDtype>::Stored* values, int size, float* out) {
    for (int i = 0; i < size; i += 8) _mm256_storeu_ps(out + i, load_floats<kDtype>(values + i));
  }

  // Popcounts of 32 bytes, from a table of the 16 nibbles.
  static __m256i byte_popcounts(__m256i v) {
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                            0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    return _mm256_add_epi8(_mm256_shuffle_epi8(counts, _mm256_and_si256(v, nibble)),
                           _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble)));
  }

  static constexpr int kKeptAtOnce = 0;  // words found: it has no instruction that compresses

  // Sets or adds to the totals: the bits that pairs of words share with each of 32 masks.
  template <bool kAdd>
  static void count_bits(const uint8_t* table, int64_t row_step, const Found* found, int count, uint32_t* totals) {
    __m256i sums = _mm256_setzero_si256();
    for (int i = 0; i < count; ++i) {
      const uint8_t* masks = table + (found[i] >> 32) * kMaskBlock;
      for (int row = 0; row < kRowPair; ++row, masks += row_step) {
        const __m256i word = _mm256_set1_epi8(reinterpret_cast<const char*>(found + i)[row]);
        sums = _mm256_add_epi8(sums, byte_popcounts(_mm256_and_si256(load(masks), word)));
      }
    }
    store_totals<kAdd>(sums, totals);
  }

  // The words of pairs of pixel rows that are marked.
  class Marks {
   public:
    // Marks the words of the pairs.
    void add(uint64_t pairs, uint16_t words) {
      const __m256i all = _mm256_set1_epi64x(static_cast<int64_t>(pairs));
      const __m256i marked = _mm256_set1_epi16(static_cast<int16_t>(words));
      const __m256i lane = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
                                             static_cast<int16_t>(32768));
      for (int i = 0; i < 4; ++i) {
        const __m256i sixteen = _mm256_shuffle_epi8(all, _mm256_set1_epi16(static_cast<int16_t>(0x0100 + 0x0202 * i)));
        const __m256i chosen = _mm256_cmpeq_epi16(_mm256_and_si256(sixteen, lane), lane);
        words_[i] = _mm256_or_si256(words_[i], _mm256_and_si256(chosen, marked));
      }
    }

    // Writes the words of each pair; returns which pairs have any.
    uint64_t store(uint16_t* words) const {
      uint64_t pairs = 0;
      for (int i = 0; i < 4; ++i) {
        X86::store(words + 16 * i, words_[i]);
        const __m256i none = _mm256_cmpeq_epi16(words_[i], _mm256_setzero_si256());
        const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(none), _mm256_extracti128_si256(none, 1));
        pairs |= static_cast<uint64_t>(~_mm_movemask_epi8(bytes) & 0xffff) << (16 * i);
      }
      return pairs;
    }

   private:
    __m256i words_[4] = {};
  };

  static uint32_t byte_mask(__m256i flags) { return static_cast<uint32_t>(_mm256_movemask_epi8(flags)); }

  // Which of 64 elements equal `value`, a bit each.
  template <class T>
  static uint64_t equal(const T* elements, T value) {
    uint64_t bits = 0;
    if constexpr (sizeof(T) == 1) {
      const __m256i wanted = _mm256_set1_epi8(static_cast<char>(value));
      for (int i = 0; i < 64; i += 32) {
        const __m256i flags = _mm256_cmpeq_epi8(load(elements + i), wanted);
        bits |= static_cast<uint64_t>(byte_mask(flags)) << i;
      }
    } else if constexpr (sizeof(T) == 2) {
      const __m256i wanted = _mm256_set1_epi16(static_cast<short>(value));
      for (int i = 0; i < 64; i += 32) {
        const __m256i low = _mm256_cmpeq_epi16(load(elements + i), wanted);
        const __m256i high = _mm256_cmpeq_epi16(load(elements + i + 16), wanted);
        // The pack works within the 128-bit halves: quarters 1 and 2 change places.
        const __m256i flags = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0b11'01'10'00);
        bits |= static_cast<uint64_t>(byte_mask(flags)) << i;
      }
    } else if constexpr (sizeof(T) == 4) {
      const __m256i wanted = _mm256_set1_epi32(static_cast<int>(value));
      for (int i = 0; i < 64; i += 8) {
        const __m256i flags = _mm256_cmpeq_epi32(load(elements + i), wanted);
        bits |= static_cast<uint64_t>(_mm256_movemask_ps(_mm256_castsi256_ps(flags))) << i;
      }
    } else {
      const __m256i wanted = _mm256_set1_epi64x(static_cast<long long>(value));
      for (int i = 0; i < 64; i += 4) {
        const __m256i flags = _mm256_cmpeq_epi64(load(elements + i), wanted);
        bits |= static_cast<uint64_t>(_mm256_movemask_pd(_mm256_castsi256_pd(flags))) << i;
      }
    }
    return bits;
  }

  // The first `count` (0 to 8) lanes of a mask for masked loads.
  static __m256i first_lanes(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  static int64_t append(__m256 values, uint32_t mask, float* out) {
    const __m256i lanes = _mm256_cvtepu8_epi32(places_of_bits(mask));
    _mm256_storeu_ps(out, _mm256_permutevar8x32_ps(values, lanes));
    return _mm_popcnt_u32(mask);
  }

  // The finite lanes above a bound of at least -2^126.
  static uint32_t finite_above(__m256 values, __m256 bound) {
    return greater(values, bound) & greater(_mm256_set1_ps(kLeastNonfinite), values);
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
      const __m256i a = load(values + i);
      const __m256i b = load(values + i + 16);
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
      const __m256i halves = load(source);
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
  static bool above_each(const typename Element<kDtype>::Stored* values, const float* bounds, int64_t count,
                         uint32_t* hits) {
    __m256i largest = _mm256_setzero_si256();
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      uint32_t word = 0;
      for (int j = 0; j < 32; j += 8) {
        const __m256 part = load_floats<kDtype>(values + i + j);
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
