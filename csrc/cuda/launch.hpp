// Starts the kernels, and what must be known of a device for it.
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

struct SelectLaunch {
  SelectArguments arguments;
  Order order;  // values or units
  int blocks;
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

// On a stream of the device; they do not wait, and allocate nothing. std::runtime_error if one cannot be started.
void count(const Launch& launch, int device, void* stream);
void select(const SelectLaunch& launch, int device, void* stream);

}  // namespace pydissect::cuda
