// What differs between the compilers of the core: g++ or clang++ for processors, nvcc and NVRTC for GPUs.
#pragma once

#if defined(__CUDACC_RTC__)
// NVRTC has no standard library.
using int8_t = signed char;
using int16_t = short;
using int32_t = int;
using int64_t = long long;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#endif

// Before a loop: PYDISSECT_UNROLL, for an array that it indexes can only then be kept in registers;
// PYDISSECT_UNROLL_BY_4, for it is short and its loads should overlap; PYDISSECT_KEEP_ROLLED, for its copies would take
// registers that are needed elsewhere.
#if defined(__CUDACC__)
#define PYDISSECT_INLINE __host__ __device__ __forceinline__
#define PYDISSECT_UNROLL _Pragma("unroll")
#define PYDISSECT_UNROLL_BY_4 _Pragma("unroll 4")
#define PYDISSECT_KEEP_ROLLED _Pragma("unroll 1")
#else
#define PYDISSECT_INLINE inline __attribute__((always_inline))
#define PYDISSECT_UNROLL
#define PYDISSECT_UNROLL_BY_4
#define PYDISSECT_KEEP_ROLLED
#endif
