// What a warp, a block and the memory they share do, in words that a GPU and a host both understand. The host runs a
// warp's lanes one after the other, so that the kernels' logic is tested where there is no GPU.
#pragma once

#include "../core/platform.hpp"

namespace pydissect::cuda {

constexpr int kLanes = 32;

#if defined(__CUDA_ARCH__)

template <class T>
struct PerLane {
  T value;
  PYDISSECT_INLINE T& operator[](int) { return value; }
};

struct Warp {
  int lane;

  // Bit i is f(i).
  template <class F>
  __device__ __forceinline__ uint32_t ballot(F f) const {
    return __ballot_sync(~0u, f(lane));
  }
  template <class F>
  __device__ __forceinline__ uint32_t sum(F f) const {
    return __reduce_add_sync(~0u, f(lane));
  }
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    f(lane);
  }
  // What the lanes wrote before, all of them see after.
  __device__ __forceinline__ void sync() const { __syncwarp(); }
};

#else

template <class T>
struct PerLane {
  T values[kLanes];
  T& operator[](int lane) { return values[lane]; }
};

struct Warp {
  template <class F>
  uint32_t ballot(F f) const {
    uint32_t bits = 0;
    for (int lane = 0; lane < kLanes; ++lane) bits |= static_cast<uint32_t>(bool(f(lane))) << lane;
    return bits;
  }
  template <class F>
  uint32_t sum(F f) const {
    uint32_t total = 0;
    for (int lane = 0; lane < kLanes; ++lane) total += f(lane);
    return total;
  }
  template <class F>
  void each(F f) const {
    for (int lane = 0; lane < kLanes; ++lane) f(lane);
  }
  void sync() const {}
};

#endif

PYDISSECT_INLINE int count_bits(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __popc(bits);
#else
  return __builtin_popcount(bits);
#endif
}

// Of the lowest bit that is set; one is.
PYDISSECT_INLINE int lowest_bit(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __ffs(static_cast<int>(bits)) - 1;
#else
  return __builtin_ctz(bits);
#endif
}

PYDISSECT_INLINE void add_to(int64_t& sum, int64_t value) {
#if defined(__CUDA_ARCH__)
  atomicAdd(reinterpret_cast<unsigned long long*>(&sum), static_cast<unsigned long long>(value));
#else
  sum += value;
#endif
}

PYDISSECT_INLINE void lower_to(int64_t& least, int64_t value) {
#if defined(__CUDA_ARCH__)
  atomicMin(reinterpret_cast<long long*>(&least), static_cast<long long>(value));
#else
  if (value < least) least = value;
#endif
}

PYDISSECT_INLINE void set_bits(uint32_t& word, uint32_t bits) {
#if defined(__CUDA_ARCH__)
  atomicOr(&word, bits);
#else
  word |= bits;
#endif
}

// 16 bytes, from an address that 16 divides.
struct Wide {
  uint32_t words[4];
};

PYDISSECT_INLINE Wide load_wide(const void* address) {
#if defined(__CUDA_ARCH__)
  const uint4 four = __ldg(static_cast<const uint4*>(address));
  return {{four.x, four.y, four.z, four.w}};
#else
  if (reinterpret_cast<uint64_t>(address) % sizeof(Wide) != 0) __builtin_trap();  // as a GPU does
  Wide wide;
  std::memcpy(&wide, address, sizeof wide);
  return wide;
#endif
}

}  // namespace pydissect::cuda
