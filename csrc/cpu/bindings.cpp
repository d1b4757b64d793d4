// Python's view of the CPU backend. Arrays come as addresses and sizes, which the Python side has checked.
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "backend.hpp"
#include "bandwidth.hpp"
#include "denormals.hpp"
#include "levels.hpp"
#include "pack.hpp"

namespace py = pybind11;

namespace pydissect {
namespace {

template <class T>
T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

using Shape = std::tuple<int64_t, int64_t, int, int>;
using Strides = std::tuple<int64_t, int64_t, int64_t, int64_t>;

Acts make_acts(std::uintptr_t address, int dtype, const Shape& shape, const Strides& strides) {
  const auto& [images, units, h, w] = shape;
  const auto& [stride_n, stride_u, stride_y, stride_x] = strides;
  return {at<const void>(address), static_cast<Dtype>(dtype), images, units, h, w, stride_n, stride_u,
          stride_y, stride_x};
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

}  // namespace
}  // namespace pydissect

PYBIND11_MODULE(_cpu, module) {
  using namespace pydissect;
  module.doc() = "SIMD kernels for the CPU; used through pydissect.backends.cpu.";

  py::class_<Acts>(module, "Acts")
      .def(py::init(&make_acts), py::arg("address"), py::arg("dtype"), py::arg("shape"), py::arg("strides"));

  py::class_<Masks>(module, "Masks")
      .def(py::init([](std::uintptr_t bitmap_ranges, std::uintptr_t bitmap_concepts, std::uintptr_t bitmaps,
                       std::uintptr_t whole_ranges, std::uintptr_t whole_concepts, std::uintptr_t annotated,
                       int64_t concepts, int64_t categories, int max_bitmaps) {
             return Masks{at<const int64_t>(bitmap_ranges), at<const int32_t>(bitmap_concepts),
                          at<const uint16_t>(bitmaps),      at<const int64_t>(whole_ranges),
                          at<const int32_t>(whole_concepts), at<const uint8_t>(annotated),
                          concepts,                         categories,
                          max_bitmaps};
           }),
           py::arg("bitmap_ranges"), py::arg("bitmap_concepts"), py::arg("bitmaps"), py::arg("whole_ranges"),
           py::arg("whole_concepts"), py::arg("annotated"), py::arg("concepts"), py::arg("categories"),
           py::arg("max_bitmaps"));

  module.def(
      "count",
      [](const Acts& acts, const Masks& masks, const py::array_t<int32_t>& row_index,
         const py::array_t<float>& row_fraction, const py::array_t<int32_t>& column_index,
         const py::array_t<float>& column_fraction, std::uintptr_t thresholds, int levels, bool nonfinite_off,
         int threads, const std::string& level_cap, std::uintptr_t intersection, std::uintptr_t unit_area,
         std::uintptr_t unit_area_all) {
        const AxisTable rows = {row_index.data(), row_fraction.data(), static_cast<int>(row_index.size())};
        const AxisTable columns = {column_index.data(), column_fraction.data(),
                                   static_cast<int>(column_index.size())};
        Counters counters = {at<int64_t>(intersection), at<int64_t>(unit_area), at<int64_t>(unit_area_all), 0};
        const py::gil_scoped_release release;
        count(acts, masks, rows, columns, at<const float>(thresholds), levels, nonfinite_off, threads, level_cap,
              counters);
        return counters.first_nonfinite;
      },
      py::arg("acts"), py::arg("masks"), py::arg("row_index"), py::arg("row_fraction"), py::arg("column_index"),
      py::arg("column_fraction"), py::arg("thresholds"), py::arg("levels"), py::arg("nonfinite_off"),
      py::arg("threads"), py::arg("level_cap"), py::arg("intersection"), py::arg("unit_area"), py::arg("unit_area_all"),
      "Adds the counts of a batch to the counters; returns the smallest n * U + u of a map with a non-finite "
      "value, or 2**63 - 1.");

  module.def(
      "select",
      [](const Acts& acts, std::uintptr_t values, std::uintptr_t fill, std::uintptr_t bound, int64_t capacity,
         int64_t keep, int threads, const std::string& level_cap) {
        Selection selection = {at<float>(values), at<int64_t>(fill), at<float>(bound), capacity, keep, 0};
        const py::gil_scoped_release release;
        select(acts, threads, level_cap, selection);
        return selection.first_nonfinite;
      },
      py::arg("acts"), py::arg("values"), py::arg("fill"), py::arg("bound"), py::arg("capacity"), py::arg("keep"),
      py::arg("threads"), py::arg("level_cap"),
      "Adds the values of a batch that can still be among the `keep` largest of their unit.");

  module.def(
      "pack_labels",
      [](const py::array_t<int32_t, py::array::c_style>& labels,
         const py::array_t<int32_t, py::array::c_style>& lookup) {
        if (labels.ndim() != 3) throw std::invalid_argument("labels must be [layers, H, W]");
        PackedImage image;
        {
          const int layers = static_cast<int>(labels.shape(0)), H = static_cast<int>(labels.shape(1)),
                    W = static_cast<int>(labels.shape(2));
          const int32_t* data = labels.data();
          const int32_t* table = lookup.data();
          const int64_t size = lookup.size();
          const py::gil_scoped_release release;
          image = pack_labels(data, layers, H, W, table, size);
        }
        const py::object unknown = image.known ? py::object(py::none()) : py::object(py::int_(image.unknown));
        return py::make_tuple(to_array(image.concepts), to_array(image.pixels), to_array(image.bitmaps), unknown);
      },
      py::arg("labels"), py::arg("lookup"),
      "Packs label maps [layers, H, W] of one image: (concepts, pixels of each, bitmaps, unknown label or None).");

  module.def(
      "pack_bool",
      [](std::uintptr_t masks, int64_t count, int H, int W, int threads, std::uintptr_t bitmaps,
         std::uintptr_t pixels) {
        const py::gil_scoped_release release;
        pack_bool(at<const uint8_t>(masks), count, H, W, threads, at<uint16_t>(bitmaps), at<int64_t>(pixels));
      },
      py::arg("masks"), py::arg("count"), py::arg("H"), py::arg("W"), py::arg("threads"), py::arg("bitmaps"),
      py::arg("pixels"));

  module.def(
      "unpack",
      [](std::uintptr_t bitmaps, int64_t count, int H, int W, std::uintptr_t masks) {
        const py::gil_scoped_release release;
        unpack(at<const uint16_t>(bitmaps), count, H, W, at<uint8_t>(masks));
      },
      py::arg("bitmaps"), py::arg("count"), py::arg("H"), py::arg("W"), py::arg("masks"));

  module.def(
      "level", [](const std::string& cap) { return std::string(best_level(cap).name); }, py::arg("cap") = "",
      "The instruction set that is used under a cap.");

  module.def(
      "read_seconds",
      [](std::uintptr_t data, int64_t bytes, int threads, int runs) {
        const py::gil_scoped_release release;
        return read_seconds(at<const void>(data), bytes, threads, runs);
      },
      py::arg("data"), py::arg("bytes"), py::arg("threads"), py::arg("runs"),
      "Seconds that reading the bytes once takes, the best of several runs.");

  module.def(
      "round_to_float",
      [](std::uintptr_t source, int64_t count, std::uintptr_t target) {
        const KeepDenormals keep_denormals;
        std::copy_n(at<const double>(source), count, at<float>(target));
      },
      py::arg("source"), py::arg("count"), py::arg("target"),
      "Rounds float64 to float32 and keeps subnormals, whatever the calling thread does with them.");

  module.def(
      "levels",
      [] {
        std::vector<std::string> names;
        for (const Level* level : supported_levels()) names.emplace_back(level->name);
        return names;
      },
      "The instruction sets that this processor runs, best first.");
}
