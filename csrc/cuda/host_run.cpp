// Runs the kernels' phases on the host: block after block, thread after thread, a warp's lanes in turn; for the tests.
//
// Shared memory is filled with garbage before each block. It has an allocation of its own, of exactly the size that the
// launch asks for, so that AddressSanitizer sees what lies beyond.
#include <algorithm>
#include <cstdint>
#include <memory>

#include <pybind11/pybind11.h>

#include "../cpu/denormals.hpp"
#include "cells.cuh"
#include "dispatch.hpp"
#include "from_python.hpp"
#include "select.cuh"

namespace py = pybind11;

namespace pydissect::cuda {
namespace {

constexpr uint32_t kGarbage = 0xa5a5a5a5u;

template <Dtype kDtype, Order kOrder>
void run_block(const Arguments& arguments, int64_t block, int threads, uint32_t* words) {
  const Share share = share_of(arguments, block);
  const Memory memory = {words, arguments.split};
  // Backwards, so that a thread that needs what another one of its phase has done is found out.
  for (int thread = threads - 1; thread >= 0; --thread) prepare(arguments, share, memory, thread, threads);
  for (int thread = threads - 1; thread >= 0; --thread) {
    scan<kDtype, kOrder>(arguments, share, memory, thread, threads);
  }
  const int warps = threads / kLanes;
  for (int warp = warps - 1; warp >= 0; --warp) evaluate<kDtype, kOrder>(arguments, share, memory, warp, Warp{});
}

void run(const Launch& launch, int threads) {
  const size_t size = launch.shared_bytes / sizeof(uint32_t);
  const std::unique_ptr<uint32_t[]> words(new uint32_t[size]);
  dispatch_count(launch.arguments.acts.dtype, launch.order, [&](auto dtype, auto order) {
    for (int64_t block = 0; block < launch.blocks; ++block) {
      std::fill_n(words.get(), size, kGarbage);
      run_block<decltype(dtype)::value, decltype(order)::value>(launch.arguments, block, threads, words.get());
    }
  });
}

void run(const SelectLaunch& launch, int threads) {
  const std::unique_ptr<SelectMemory> memory(new SelectMemory);
  dispatch_select(launch.arguments.acts.dtype, launch.order, [&](auto dtype, auto order) {
    for (int block = 0; block < launch.blocks; ++block) {
      std::memset(memory.get(), kGarbage & 0xff, sizeof(SelectMemory));
      select_units<decltype(dtype)::value, decltype(order)::value>(launch.arguments, block, *memory, Team{threads});
    }
  });
}

}  // namespace
}  // namespace pydissect::cuda

PYBIND11_MODULE(_cuda_host, module) {
  using namespace pydissect::cuda;
  module.doc() = "The CUDA kernels' logic on the host, for the tests.";

  module.def(
      "count",
      [](const py::dict& fields, int threads) {
        const Launch launch = launch_from(fields);
        const py::gil_scoped_release release;
        const pydissect::KeepDenormals keep_denormals;
        run(launch, threads);
      },
      py::arg("fields"), py::arg("threads"), "Adds the counts of a batch in the host's memory to the sums.");

  module.def(
      "select",
      [](const py::dict& fields, int threads) {
        const SelectLaunch launch = select_launch_from(fields);
        const py::gil_scoped_release release;
        const pydissect::KeepDenormals keep_denormals;
        run(launch, threads);
      },
      py::arg("fields"), py::arg("threads"), "Adds to a selection what a batch in the host's memory holds of it.");
}
