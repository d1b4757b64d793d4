// The phases of count.cuh, and select.cuh, as kernels.
#pragma once

#include "cells.cuh"
#include "select.cuh"

namespace pydissect::cuda {

// Blocks are numbered from `first_block` on, for a grid may be too small for all.
template <Dtype kDtype, Order kOrder>
__global__ void __launch_bounds__(kThreads, 2)
    count_kernel(const __grid_constant__ Arguments arguments, int64_t first_block) {
  extern __shared__ uint32_t words[];
  const int thread = static_cast<int>(threadIdx.x);
  const Share share = share_of(arguments, first_block + blockIdx.x);
  const Memory memory = {words, arguments.split};
  prepare(arguments, share, memory, thread, kThreads);
  __syncthreads();
  scan<kDtype, kOrder>(arguments, share, memory, thread, kThreads);
  __syncthreads();
#if defined(__CUDA_ARCH__)
  const Warp warp = {thread % kLanes};
  evaluate<kDtype, kOrder>(arguments, share, memory, thread / kLanes, warp);
#endif
}

template <Dtype kDtype, Order kOrder>
__global__ void __launch_bounds__(kThreads, 2) select_kernel(const __grid_constant__ SelectArguments arguments) {
#if defined(__CUDA_ARCH__)
  __shared__ SelectMemory memory;
  select_units<kDtype, kOrder>(arguments, blockIdx.x, memory, Team{static_cast<int>(threadIdx.x)});
#endif
}

}  // namespace pydissect::cuda
