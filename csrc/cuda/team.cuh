// A block of threads, in words that a GPU and a host both understand: what all threads do between two barriers. The
// host runs it for one thread after the other, backwards, so that a thread that needs what another one has done in the
// same stretch is found out.
#pragma once

#include "warp.cuh"

namespace pydissect::cuda {

constexpr int kThreads = 512;  // of a block

#if defined(__CUDA_ARCH__)

// What each thread has of its own.
template <class T>
struct PerThread {
  T value;
  PYDISSECT_INLINE T& operator[](int) { return value; }
};

struct Team {
  int thread;

  static constexpr PYDISSECT_INLINE int threads() { return kThreads; }
  template <class F>
  __device__ __forceinline__ void each(F f) const {
    f(thread);
    __syncthreads();
  }
  // Whether f(thread) holds for one.
  template <class F>
  __device__ __forceinline__ bool any(F f) const {
    return __syncthreads_or(f(thread));
  }
};

#else

template <class T>
struct PerThread {
  T values[kThreads];
  T& operator[](int thread) { return values[thread]; }
};

struct Team {
  int size;  // kThreads at most

  int threads() const { return size; }
  template <class F>
  void each(F f) const {
    for (int thread = size - 1; thread >= 0; --thread) f(thread);
  }
  template <class F>
  bool any(F f) const {
    bool found = false;
    for (int thread = size - 1; thread >= 0; --thread) found |= f(thread);
    return found;
  }
};

#endif

PYDISSECT_INLINE void add_one(uint32_t& count) {
#if defined(__CUDA_ARCH__)
  atomicAdd(&count, 1u);
#else
  ++count;
#endif
}

}  // namespace pydissect::cuda
