// Starts the counting kernel, and what it must know of a device.
#pragma once

#include <string>

#include "arguments.hpp"

namespace pydissect::cuda {

struct Launch {
  Arguments arguments;
  Order order;
  int64_t blocks;
  int shared_bytes;
};

struct DeviceLimits {
  int shared_bytes_a_block;  // that a kernel may ask for
  int shared_bytes;          // of a multiprocessor
  int multiprocessors;
  int major, minor;  // compute capability
};

// CUDA's version, and the architectures that this was compiled for.
std::string built_for();

// Why the kernels cannot run on the device of this number, or "". Starts CUDA there.
std::string missing(int device);

DeviceLimits limits(int device);

// On a stream of the device; does not wait, allocates nothing. std::runtime_error if it cannot be started.
void count(const Launch& launch, int device, void* stream);

}  // namespace pydissect::cuda
