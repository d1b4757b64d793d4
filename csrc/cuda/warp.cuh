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
  // Bit i is set if f of a lane has it set.
  template <class F>
  __device__ __forceinline__ uint32_t unite(F f) const {
    return __reduce_or_sync(~0u, f(lane));
  }
  // The sum of f over all lanes; `before` becomes that over the lanes before each.
  template <class F>
  __device__ __forceinline__ int sums(F f, PerLane<int>& before) const {
    const int own = f(lane);
    int sum = own;
    PYDISSECT_UNROLL
    for (int step = 1; step < kLanes; step *= 2) {
      const int other = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += other;
    }
    before.value = sum - own;
    return __shfl_sync(~0u, sum, kLanes - 1);
  }
  // f, called by one lane.
  template <class F>
  __device__ __forceinline__ int once(F f) const {
    return __shfl_sync(~0u, lane == 0 ? f() : 0, 0);
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
  uint32_t unite(F f) const {
    uint32_t bits = 0;
    for (int lane = 0; lane < kLanes; ++lane) bits |= f(lane);
    return bits;
  }
  template <class F>
  int sums(F f, PerLane<int>& before) const {
    int sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      before[lane] = sum;
      sum += f(lane);
    }
    return sum;
  }
  template <class F>
  int once(F f) const {
    return f();
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

PYDISSECT_INLINE uint32_t lanes_before(int lane) { return (1u << lane) - 1; }
PYDISSECT_INLINE uint32_t lanes_up_to(int lane) { return ~0u >> (kLanes - 1 - lane); }

// Of the 64 bits of two words those from the `shift`-th of `low` on; the shift is below 32.
PYDISSECT_INLINE uint32_t shift_down(uint32_t low, uint32_t high, int shift) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_r(low, high, shift);
#else
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> shift);
#endif
}

// The bits of a word from one on, which may lie outside.
PYDISSECT_INLINE uint32_t bits_from(int bit) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_lc(0, ~0u, max(bit, 0));
#else
  return bit <= 0 ? ~0u : bit >= 32 ? 0 : ~0u << bit;
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

PYDISSECT_INLINE void lower_to(int32_t& least, int32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMin(&least, value);
#else
  if (value < least) least = value;
#endif
}

PYDISSECT_INLINE void raise_to(int32_t& most, int32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMax(&most, value);
#else
  if (value > most) most = value;
#endif
}

PYDISSECT_INLINE void set_bits(uint32_t& word, uint32_t bits) {
#if defined(__CUDA_ARCH__)
  atomicOr(&word, bits);
#else
  word |= bits;
#endif
}

// Writes kBits bits, the `number`-th so many of `words`, which are zero before.
template <int kBits>
PYDISSECT_INLINE void put_bits(uint32_t* words, int number, uint32_t bits) {
  static_assert(kBits == 8 || kBits == 16);
#if defined(__CUDA_ARCH__)
  if constexpr (kBits == 8) reinterpret_cast<uint8_t*>(words)[number] = static_cast<uint8_t>(bits);
  if constexpr (kBits == 16) reinterpret_cast<uint16_t*>(words)[number] = static_cast<uint16_t>(bits);
#else
  words[number / (32 / kBits)] |= bits << number % (32 / kBits) * kBits;
#endif
}

// Takes the next `count` places of a list, in shared memory; returns the first.
PYDISSECT_INLINE int take_places(int32_t& length, int count) {
#if defined(__CUDA_ARCH__)
  return atomicAdd(&length, count);
#else
  const int place = length;
  length += count;
  return place;
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
