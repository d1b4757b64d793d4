#include "launch.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "dispatch.hpp"
#include "kernel.cuh"

namespace pydissect::cuda {
namespace {

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

// Makes a device the current one for a while.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) {
    check(cudaGetDevice(&before_));
    check(cudaSetDevice(device));
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  ~CurrentDevice() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, name, device));
  return value;
}

}  // namespace

std::string built_for() {
  std::string text = "CUDA " + std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
  for (const int arch : {__CUDA_ARCH_LIST__}) text += (text.find(';') == std::string::npos ? "; sm_" : ", sm_") + std::to_string(arch / 10);
  return text;
}

std::string missing(int device) {
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  // Without a driver at all, the runtime finds one of version 0, which is too old.
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (driver == 0) return "there is no CUDA driver";
  if (error != cudaSuccess) return std::string("there is no CUDA device: ") + cudaGetErrorString(error);
  if (device >= devices) return "there is no such device, only " + std::to_string(devices);
  const CurrentDevice current(device);
  cudaFuncAttributes attributes;
  error = cudaFuncGetAttributes(&attributes, count_kernel<Dtype::f32, Order::values>);
  if (error == cudaSuccess) return "";
  cudaGetLastError();
  return std::string("its kernels do not run there: ") + cudaGetErrorString(error) +
         "; PYDISSECT_CUDA_ARCHS names the architectures that it is built for";
}

DeviceLimits limits(int device) {
  return {attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, device),
          attribute(cudaDevAttrMultiProcessorCount, device),
          attribute(cudaDevAttrComputeCapabilityMajor, device),
          attribute(cudaDevAttrComputeCapabilityMinor, device)};
}

void count(const Launch& launch, int device, void* stream) {
  const CurrentDevice current(device);
  dispatch_count(launch.arguments.acts.dtype, launch.order, [&](auto dtype, auto order) {
    const auto kernel = count_kernel<decltype(dtype)::value, decltype(order)::value>;
    // All that there is: another thread may be about to start the kernel with more than this one.
    const int most = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
    constexpr int64_t kGrid = std::numeric_limits<int>::max();
    for (int64_t first = 0; first < launch.blocks; first += kGrid) {
      const unsigned blocks = static_cast<unsigned>(std::min(launch.blocks - first, kGrid));
      kernel<<<blocks, kThreads, launch.shared_bytes, static_cast<cudaStream_t>(stream)>>>(launch.arguments, first);
      check(cudaGetLastError());
    }
  });
}

void select(const SelectLaunch& launch, int device, void* stream) {
  const CurrentDevice current(device);
  dispatch_select(launch.arguments.acts.dtype, launch.order, [&](auto dtype, auto order) {
    const auto kernel = select_kernel<decltype(dtype)::value, decltype(order)::value>;
    kernel<<<launch.blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(launch.arguments);
    check(cudaGetLastError());
  });
}

}  // namespace pydissect::cuda
