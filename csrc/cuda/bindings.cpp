// Python's view of the CUDA backend. Arrays come as addresses and sizes, which the Python side has checked.
#include <cstdint>

#include <pybind11/pybind11.h>

#include "from_python.hpp"
#include "launch.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_cuda, module) {
  using namespace pydissect::cuda;
  module.doc() = "Kernels for CUDA devices; used through pydissect.backends.cuda.";

  py::class_<DeviceLimits>(module, "DeviceLimits")
      .def_readonly("shared_bytes_a_block", &DeviceLimits::shared_bytes_a_block)
      .def_readonly("shared_bytes", &DeviceLimits::shared_bytes)
      .def_readonly("multiprocessors", &DeviceLimits::multiprocessors)
      .def_property_readonly("capability",
                             [](const DeviceLimits& limits) { return py::make_tuple(limits.major, limits.minor); });

  module.def("built_for", &built_for, "CUDA's version and the architectures that it was built for.");

  module.def("missing", &missing, py::arg("device"),
             "Why the kernels cannot run on the device of this number, or the empty string.");

  module.def("limits", &limits, py::arg("device"), "What a kernel may use there.");

  module.def(
      "count",
      [](const py::dict& fields, int device, std::uintptr_t stream) {
        const Launch launch = launch_from(fields);
        const py::gil_scoped_release release;
        count(launch, device, reinterpret_cast<void*>(stream));
      },
      py::arg("fields"), py::arg("device"), py::arg("stream"),
      "Adds the counts of a batch to the sums, on a stream of the device, and does not wait for it.");

  module.def(
      "select",
      [](const py::dict& fields, int device, std::uintptr_t stream) {
        const SelectLaunch launch = select_launch_from(fields);
        const py::gil_scoped_release release;
        select(launch, device, reinterpret_cast<void*>(stream));
      },
      py::arg("fields"), py::arg("device"), py::arg("stream"),
      "Adds to a selection what a batch holds of it, on a stream of the device, and does not wait for it.");
}
