// Stands before the compiler's header of this name where AVX-512 is emulated (setup.py): there its intrinsics are
// SIMDe's functions, which need no more than AVX2, so that the code of the AVX-512 levels runs on any machine with it.
#pragma once

#include_next <immintrin.h>

#include <cstdint>
#include <cstring>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

// Masked loads and stores touch no lane outside the mask. SIMDe's do, which would hide reads beyond a tensor,
// and overwrite what lies behind it.
namespace emulated {

template <class Lane, class Vector>
static inline Vector load(uint64_t mask, const void* source) {
  Vector result = {};
  for (uint64_t i = 0; i < sizeof(Vector) / sizeof(Lane); ++i) {
    if (mask >> i & 1) {
      std::memcpy(reinterpret_cast<char*>(&result) + i * sizeof(Lane), static_cast<const Lane*>(source) + i, sizeof(Lane));
    }
  }
  return result;
}

template <class Lane, class Vector>
static inline void store(void* target, uint64_t mask, Vector value) {
  for (uint64_t i = 0; i < sizeof(Vector) / sizeof(Lane); ++i) {
    if (mask >> i & 1) {
      std::memcpy(static_cast<Lane*>(target) + i, reinterpret_cast<const char*>(&value) + i * sizeof(Lane), sizeof(Lane));
    }
  }
}

}  // namespace emulated

#undef _mm256_maskz_loadu_epi8
#undef _mm256_maskz_loadu_epi16
#undef _mm256_maskz_loadu_epi32
#undef _mm256_maskz_loadu_epi64
#undef _mm256_maskz_loadu_ps
#undef _mm512_maskz_loadu_epi8
#undef _mm512_maskz_loadu_epi16
#undef _mm512_maskz_loadu_epi32
#undef _mm512_maskz_loadu_epi64
#undef _mm512_maskz_loadu_ps
#define _mm256_maskz_loadu_epi8(mask, source) emulated::load<int8_t, __m256i>(mask, source)
#define _mm256_maskz_loadu_epi16(mask, source) emulated::load<int16_t, __m256i>(mask, source)
#define _mm256_maskz_loadu_epi32(mask, source) emulated::load<int32_t, __m256i>(mask, source)
#define _mm256_maskz_loadu_epi64(mask, source) emulated::load<int64_t, __m256i>(mask, source)
#define _mm256_maskz_loadu_ps(mask, source) emulated::load<float, __m256>(mask, source)
#define _mm512_maskz_loadu_epi8(mask, source) emulated::load<int8_t, __m512i>(mask, source)
#define _mm512_maskz_loadu_epi16(mask, source) emulated::load<int16_t, __m512i>(mask, source)
#define _mm512_maskz_loadu_epi32(mask, source) emulated::load<int32_t, __m512i>(mask, source)
#define _mm512_maskz_loadu_epi64(mask, source) emulated::load<int64_t, __m512i>(mask, source)
#define _mm512_maskz_loadu_ps(mask, source) emulated::load<float, __m512>(mask, source)

#undef _mm256_mask_storeu_epi8
#undef _mm256_mask_storeu_epi16
#undef _mm256_mask_storeu_epi32
#undef _mm256_mask_storeu_epi64
#undef _mm256_mask_storeu_ps
#undef _mm512_mask_storeu_epi8
#undef _mm512_mask_storeu_epi16
#undef _mm512_mask_storeu_epi32
#undef _mm512_mask_storeu_epi64
#undef _mm512_mask_storeu_ps
#define _mm256_mask_storeu_epi8(target, mask, value) emulated::store<int8_t, __m256i>(target, mask, value)
#define _mm256_mask_storeu_epi16(target, mask, value) emulated::store<int16_t, __m256i>(target, mask, value)
#define _mm256_mask_storeu_epi32(target, mask, value) emulated::store<int32_t, __m256i>(target, mask, value)
#define _mm256_mask_storeu_epi64(target, mask, value) emulated::store<int64_t, __m256i>(target, mask, value)
#define _mm256_mask_storeu_ps(target, mask, value) emulated::store<float, __m256>(target, mask, value)
#define _mm512_mask_storeu_epi8(target, mask, value) emulated::store<int8_t, __m512i>(target, mask, value)
#define _mm512_mask_storeu_epi16(target, mask, value) emulated::store<int16_t, __m512i>(target, mask, value)
#define _mm512_mask_storeu_epi32(target, mask, value) emulated::store<int32_t, __m512i>(target, mask, value)
#define _mm512_mask_storeu_epi64(target, mask, value) emulated::store<int64_t, __m512i>(target, mask, value)
#define _mm512_mask_storeu_ps(target, mask, value) emulated::store<float, __m512>(target, mask, value)

// What SIMDe lacks. An intrinsic that is missing here as well does not compile without -mavx512*.
#define _mm512_mask_cmp_ps_mask(mask, a, b, predicate) \
  static_cast<__mmask16>((mask) & _mm512_cmp_ps_mask(a, b, predicate))
#define _mm512_kunpackw(high, low) static_cast<__mmask32>(static_cast<uint32_t>(high) << 16 | (low))
#define _mm512_mask_cmpgt_epi16_mask(mask, a, b) static_cast<__mmask32>((mask) & _mm512_cmpgt_epi16_mask(a, b))
#define _mm512_cmpeq_epi16_mask(a, b) \
  static_cast<__mmask32>(~(_mm512_cmpgt_epi16_mask(a, b) | _mm512_cmpgt_epi16_mask(b, a)))
