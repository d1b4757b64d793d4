// Python's view of the CPU backend. Arrays come as addresses and sizes, which the Python side has checked.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../cuda/from_python.hpp"
#include "backend.hpp"
#include "bandwidth.hpp"
#include "denormals.hpp"
#include "geometry.hpp"
#include "levels.hpp"
#include "pack.hpp"
#include "sift.hpp"

namespace py = pybind11;

namespace pydissect {
namespace {

template <class T>
T* at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

using Shape = std::tuple<int64_t, int64_t, int, int>;
using Strides = std::tuple<int64_t, int64_t, int64_t, int64_t>;
using ActsFields = std::tuple<std::uintptr_t, int, Shape, Strides>;

Acts make_acts(const ActsFields& fields) {
  const auto& [address, dtype, shape, strides] = fields;
  const auto& [images, units, h, w] = shape;
  const auto& [stride_n, stride_u, stride_y, stride_x] = strides;
  const auto reach = [](int64_t size, int64_t stride) { return std::max<int64_t>((size - 1) * stride, 0); };
  const int64_t values = 1 + reach(images, stride_n) + reach(units, stride_u) + reach(h, stride_y) + reach(w, stride_x);
  const int64_t bytes = values * (static_cast<Dtype>(dtype) == Dtype::f32 ? 4 : 2);
  return {at<const void>(address), static_cast<Dtype>(dtype), images,   units,
          h,                       w,                         stride_n, stride_u,
          stride_y,                stride_x,                  at<const void>(address + bytes)};
}

using MasksFields = std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t,
                               std::uintptr_t, std::uintptr_t, int64_t, int64_t>;

Masks make_masks(const MasksFields& fields) {
  const auto& [bitmap_ranges, bitmap_concepts, bitmap_pixels, bitmaps, whole_ranges, whole_concepts, annotated,
               concepts, categories] = fields;
  return {at<const int64_t>(bitmap_ranges), at<const int32_t>(bitmap_concepts), at<const int32_t>(bitmap_pixels),
          at<const uint8_t>(bitmaps),       at<const int64_t>(whole_ranges),    at<const int32_t>(whole_concepts),
          at<const uint8_t>(annotated),     concepts,                           categories};
}

// An array that shares the memory of a list of `self`, and keeps `self` alive.
template <auto kList>
auto view_of(const py::object& self) {
  const auto& list = self.cast<const PackedImages&>().*kList;
  using Value = typename std::decay_t<decltype(list)>::value_type;
  return py::array_t<Value>(static_cast<py::ssize_t>(list.size()), list.data(), self);
}

}  // namespace
}  // namespace pydissect

// Activations, like masks, come as a tuple: an object of a class of its own would take longer to make than the call.
template <>
struct pybind11::detail::type_caster<pydissect::Acts> {
  PYBIND11_TYPE_CASTER(pydissect::Acts, const_name("Acts"));

  bool load(handle source, bool convert) {
    make_caster<pydissect::ActsFields> fields;
    if (!fields.load(source, convert)) return false;
    value = pydissect::make_acts(cast_op<pydissect::ActsFields>(fields));
    return true;
  }
};

PYBIND11_MODULE(_cpu, module) {
  using namespace pydissect;
  module.doc() = "SIMD kernels for the CPU; used through pydissect.backends.cpu.";

  py::class_<GeometryTables>(module, "Geometry")
      .def(py::init([](const py::array_t<int32_t>& row_index, const py::array_t<float>& row_fraction,
                       const py::array_t<int32_t>& column_index, const py::array_t<float>& column_fraction, int h,
                       int w) {
             const AxisTable rows = {row_index.data(), row_fraction.data(), static_cast<int>(row_index.size())};
             const AxisTable columns = {column_index.data(), column_fraction.data(),
                                        static_cast<int>(column_index.size())};
             return std::make_unique<GeometryTables>(rows, columns, h, w);
           }),
           py::arg("row_index"), py::arg("row_fraction"), py::arg("column_index"), py::arg("column_fraction"),
           py::arg("h"), py::arg("w"), "The sampling tables of both axes, for maps [h, w].");

  module.def(
      "environment_cap",
      [] {
        const char* cap = std::getenv("PYDISSECT_CPU_LEVEL");
        return std::string(cap ? cap : "");
      },
      "PYDISSECT_CPU_LEVEL, empty if it is not set; asked at every call, where os.environ takes as long as the rest.");

  module.def(
      "count",
      [](const Acts& acts, const MasksFields& masks, const GeometryTables& geometry, std::uintptr_t thresholds,
         int levels, bool nonfinite_off, int threads, const std::string& level_cap, std::uintptr_t intersection,
         std::uintptr_t unit_area, std::uintptr_t unit_area_all, std::uintptr_t concept_area) {
        Counters counters = {at<int64_t>(intersection), at<int64_t>(unit_area), at<int64_t>(unit_area_all),
                             at<int64_t>(concept_area), 0};
        const py::gil_scoped_release release;
        count(acts, make_masks(masks), geometry.view(), at<const float>(thresholds), levels, nonfinite_off, threads,
              level_cap, counters);
        return counters.first_nonfinite;
      },
      py::arg("acts"), py::arg("masks"), py::arg("geometry"), py::arg("thresholds"), py::arg("levels"),
      py::arg("nonfinite_off"), py::arg("threads"), py::arg("level_cap"), py::arg("intersection"),
      py::arg("unit_area"), py::arg("unit_area_all"), py::arg("concept_area"),
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
      "values_of_ranks",
      [](std::uintptr_t values, std::uintptr_t fill, std::uintptr_t bound, int64_t units, int64_t capacity,
         int64_t keep, const std::vector<int64_t>& ranks, int threads, const std::string& level_cap,
         std::uintptr_t result) {
        const Selection selection = {at<float>(values), at<int64_t>(fill), at<float>(bound), capacity, keep, 0};
        const py::gil_scoped_release release;
        values_of_ranks(selection, units, ranks, threads, level_cap, at<float>(result));
      },
      py::arg("values"), py::arg("fill"), py::arg("bound"), py::arg("units"), py::arg("capacity"), py::arg("keep"),
      py::arg("ranks"), py::arg("threads"), py::arg("level_cap"), py::arg("result"),
      "The (k + 1)-th largest of the values that each unit holds, for each rank k.");

  py::class_<WantedImages>(module, "Wanted")
      .def(py::init([](std::uintptr_t bits, const Shape& shape) {
             const auto& [images, units, h, w] = shape;
             return WantedImages{at<uint64_t>(bits), images, units, h, w};
           }),
           py::arg("bits"), py::arg("shape"))
      .def_static(
          "words", [](int64_t units, int h, int w) { return Wanted{nullptr, units, h, w}.words(); }, py::arg("units"),
          py::arg("h"), py::arg("w"), "64-bit words of an image's bits.");

  py::class_<CandidateImages>(module, "Candidates")
      .def(py::init([](std::uintptr_t offsets, std::uintptr_t places, std::uintptr_t values, int dtype) {
             return CandidateImages{at<const int64_t>(offsets), at<const int32_t>(places), at<const void>(values),
                                    static_cast<Dtype>(dtype)};
           }),
           py::arg("offsets"), py::arg("places"), py::arg("values"), py::arg("dtype"));

  module.def(
      "sift",
      [](const Acts& acts, std::uintptr_t bound, std::uintptr_t peak_bound, int threads, const std::string& level_cap,
         const WantedImages& wanted, std::uintptr_t counts, std::uintptr_t peaks, std::uintptr_t peak_places) {
        const py::gil_scoped_release release;
        sift(acts, at<const float>(bound), at<const float>(peak_bound), threads, level_cap, wanted,
             at<int64_t>(counts), {at<float>(peaks), at<int32_t>(peak_places)});
      },
      py::arg("acts"), py::arg("bound"), py::arg("peak_bound"), py::arg("threads"), py::arg("level_cap"),
      py::arg("wanted"), py::arg("counts"), py::arg("peaks"), py::arg("peak_places"),
      "Marks and counts the values above the bound and their neighbours; finds maps' peaks above the other bound.");

  module.def(
      "gather",
      [](const Acts& acts, const WantedImages& wanted, std::uintptr_t offsets, int threads, std::uintptr_t places,
         std::uintptr_t values) {
        const py::gil_scoped_release release;
        gather(acts, wanted, at<const int64_t>(offsets), threads, at<int32_t>(places), at<void>(values));
      },
      py::arg("acts"), py::arg("wanted"), py::arg("offsets"), py::arg("threads"), py::arg("places"),
      py::arg("values"), "Copies the activations that are marked, and their places.");

  module.def(
      "mark",
      [](const CandidateImages& candidates, std::uintptr_t bound, int threads, const WantedImages& wanted,
         std::uintptr_t counts) {
        const py::gil_scoped_release release;
        mark(candidates, at<const float>(bound), threads, wanted, at<int64_t>(counts));
      },
      py::arg("candidates"), py::arg("bound"), py::arg("threads"), py::arg("wanted"), py::arg("counts"),
      "Marks and counts the candidates above a higher bound, and their neighbours.");

  module.def(
      "keep",
      [](const CandidateImages& candidates, const WantedImages& wanted, std::uintptr_t offsets, int threads,
         std::uintptr_t places, std::uintptr_t values) {
        const py::gil_scoped_release release;
        keep(candidates, wanted, at<const int64_t>(offsets), threads, at<int32_t>(places), at<void>(values));
      },
      py::arg("candidates"), py::arg("wanted"), py::arg("offsets"), py::arg("threads"), py::arg("places"),
      py::arg("values"), "Copies the candidates that are marked.");

  module.def(
      "spread",
      [](const CandidateImages& candidates, int64_t images, int64_t image_values, int threads, std::uintptr_t acts) {
        const py::gil_scoped_release release;
        spread(candidates, images, image_values, threads, at<void>(acts));
      },
      py::arg("candidates"), py::arg("images"), py::arg("image_values"), py::arg("threads"), py::arg("acts"),
      "Writes activations [images, image_values], the lowest finite value where there is no candidate.");

  py::class_<PackedImages>(module, "PackedImages")
      .def_property_readonly("bitmap_offsets", view_of<&PackedImages::bitmap_offsets>)
      .def_property_readonly("concepts", view_of<&PackedImages::concepts>)
      .def_property_readonly("pixels", view_of<&PackedImages::pixels>)
      .def_property_readonly("whole_offsets", view_of<&PackedImages::whole_offsets>)
      .def_property_readonly("whole", view_of<&PackedImages::whole>)
      .def_property_readonly("bitmaps", [](const py::object& self) {
        const PackedImages& images = self.cast<const PackedImages&>();
        const std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(images.concepts.size()), images.size.H,
                                                images.size.words};
        return py::array_t<uint16_t>(shape, images.bitmaps.get(), self);
      });

  module.def(
      "pack_bool",
      [](std::uintptr_t masks, const Shape& shape, const Strides& strides, int threads,
         const std::string& level_cap) {
        const auto& [images, concepts, H, W] = shape;
        const auto& [stride_n, stride_c, stride_y, stride_x] = strides;
        const BoolMasks source = {at<const uint8_t>(masks), images,   concepts, mask_size(H, W), stride_n,
                                  stride_c,                 stride_y, stride_x};
        const py::gil_scoped_release release;
        return pack_bool(source, threads, level_cap);
      },
      py::arg("masks"), py::arg("shape"), py::arg("strides"), py::arg("threads"), py::arg("level_cap"),
      "Packs bool masks [images, concepts, H, W].");

  module.def(
      "pack_labels",
      [](std::uintptr_t maps, int type, const Shape& shape, const Strides& strides, std::optional<int64_t> ignored,
         int64_t first, int64_t count, const std::optional<py::array_t<int32_t, py::array::c_style>>& concepts,
         const std::vector<int32_t>& whole, int threads, const std::string& level_cap) {
        const auto& [images, layers, H, W] = shape;
        const auto& [stride_n, stride_layer, stride_y, stride_x] = strides;
        const LabelMaps source = {at<const void>(maps), static_cast<LabelType>(type), images, layers,
                                  mask_size(H, W), stride_n, stride_layer, stride_y, stride_x};
        const Vocabulary vocabulary = {ignored.has_value(), ignored.value_or(0), first, count,
                                       concepts ? concepts->data() : nullptr};
        UnknownLabels unknown;
        PackedImages packed;
        {
          const py::gil_scoped_release release;
          packed = pack_labels(source, vocabulary, whole, threads, level_cap, unknown);
        }
        return py::make_tuple(std::move(packed), unknown.low, unknown.high);
      },
      py::arg("maps"), py::arg("type"), py::arg("shape"), py::arg("strides"), py::arg("ignored"), py::arg("first"),
      py::arg("count"), py::arg("concepts"), py::arg("whole"), py::arg("threads"), py::arg("level_cap"),
      "Packs label maps [images, layers, H, W]: the masks, and the smallest and the largest unknown label (2^63 "
      "added to signed ones; the smallest is above the largest if there is none).");

  module.def(
      "unpack",
      [](std::uintptr_t bitmaps, std::uintptr_t planes, int64_t count, int H, int W, int threads,
         std::uintptr_t masks) {
        const py::gil_scoped_release release;
        unpack(at<const uint16_t>(bitmaps), at<const int64_t>(planes), count, mask_size(H, W), threads,
               at<uint8_t>(masks));
      },
      py::arg("bitmaps"), py::arg("planes"), py::arg("count"), py::arg("H"), py::arg("W"), py::arg("threads"),
      py::arg("masks"), "Writes bitmaps as bytes into planes [H, W] of bool masks.");

  module.def("level", &best_level_name, py::arg("cap") = "", "The instruction set that is used under a cap.");

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

  module.def("level_names", &level_names, "The instruction sets that the extension knows, best first.");

  module.def("levels", &supported_level_names, "The instruction sets that this processor runs, best first.");

  module.def(
      "cuda_arguments",
      [](const py::dict& fields) {
        const pydissect::cuda::Arguments arguments = pydissect::cuda::launch_from(fields).arguments;
        return py::bytes(reinterpret_cast<const char*>(&arguments), sizeof arguments);
      },
      py::arg("fields"), "The CUDA counting kernel's argument as it lies in memory, for kernels that NVRTC compiles.");

  module.def(
      "cuda_select_arguments",
      [](const py::dict& fields) {
        const pydissect::cuda::SelectArguments arguments = pydissect::cuda::select_launch_from(fields).arguments;
        return py::bytes(reinterpret_cast<const char*>(&arguments), sizeof arguments);
      },
      py::arg("fields"), "The same of the selecting kernel.");
}
