// A launch as Python gives it: numbers and addresses by name, all from pydissect/backends/cuda_launch.py
// and cuda_select.py there.
#pragma once

#include <pybind11/pybind11.h>

#include "launch.hpp"

namespace pydissect::cuda {

class Fields {
 public:
  explicit Fields(const pybind11::dict& fields) : fields_(fields) {}

  template <class Field>
  void take(const char* name, Field& field) const {
    const pybind11::object value = fields_[name];
    if constexpr (std::is_pointer_v<Field>) {
      field = reinterpret_cast<Field>(value.cast<std::uintptr_t>());
    } else if constexpr (std::is_enum_v<Field>) {
      field = static_cast<Field>(value.cast<int>());
    } else if constexpr (std::is_same_v<Field, Divisor>) {
      field = Divisor::by(value.cast<uint32_t>());
    } else {
      field = value.cast<Field>();
    }
  }

  void take_acts(Acts& acts) const {
    take("acts", acts.data);
    take("acts_end", acts.end);
    take("dtype", acts.dtype);
    take("images", acts.images);
    take("units", acts.units);
    take("h", acts.h);
    take("w", acts.w);
    take("stride_n", acts.stride_n);
    take("stride_u", acts.stride_u);
    take("stride_y", acts.stride_y);
    take("stride_x", acts.stride_x);
  }

 private:
  const pybind11::dict& fields_;
};

inline Launch launch_from(const pybind11::dict& fields) {
  const Fields given(fields);
  const auto take = [&](const char* name, auto& field) { given.take(name, field); };
  Launch launch = {};
  take("order", launch.order);
  take("blocks", launch.blocks);
  take("shared_bytes", launch.shared_bytes);
  Arguments& arguments = launch.arguments;
  take("thresholds", arguments.thresholds);
  take("levels", arguments.levels);
  given.take_acts(arguments.acts);
  Masks& masks = arguments.masks;
  take("bitmap_ranges", masks.bitmap_ranges);
  take("bitmap_concepts", masks.bitmap_concepts);
  take("bitmap_pixels", masks.bitmap_pixels);
  take("bitmaps", masks.bitmaps);
  take("whole_ranges", masks.whole_ranges);
  take("whole_concepts", masks.whole_concepts);
  take("annotated", masks.annotated);
  take("concepts", masks.concepts);
  take("categories", masks.categories);
  Tables& tables = arguments.tables;
  take("H", tables.H);
  take("W", tables.W);
  take("row_bits", tables.row_bits);
  take("row_step", tables.row_step);
  take("column_step", tables.column_step);
  take("first_rows", tables.first_rows);
  take("first_columns", tables.first_columns);
  take("row_fractions", tables.row_fractions);
  take("column_fractions", tables.column_fractions);
  Split& split = arguments.split;
  take("group", split.group);
  take("groups", split.groups);
  take("band", split.band);
  take("bands", split.bands);
  take("hot_words", split.hot_words);
  take("pieces", split.pieces);
  take("staged", split.staged);
  take("mask_halves", split.mask_halves);
  take("mask_stride", split.mask_stride);
  take("fractions_offset", split.fractions_offset);
  take("warps_offset", split.warps_offset);
  take("masks_offset", split.masks_offset);
  take("map_values", split.map_values);
  take("w", split.row_values);
  Sums& sums = arguments.sums;
  take("intersection", sums.intersection);
  take("unit_area", sums.unit_area);
  take("unit_area_all", sums.unit_area_all);
  take("concept_area", sums.concept_area);
  take("first_nonfinite", sums.first_nonfinite);
  return launch;
}

inline SelectLaunch select_launch_from(const pybind11::dict& fields) {
  const Fields given(fields);
  SelectLaunch launch = {};
  given.take("order", launch.order);
  given.take("blocks", launch.blocks);
  SelectArguments& arguments = launch.arguments;
  given.take_acts(arguments.acts);
  given.take("stride_row", arguments.stride_row);
  given.take("stride_column", arguments.stride_column);
  given.take("run", arguments.run);
  given.take("image_pieces", arguments.image_pieces);
  given.take("group", arguments.group);
  given.take("run_pieces", arguments.run_pieces);
  given.take("columns", arguments.columns);
  given.take("values", arguments.values);
  given.take("fill", arguments.fill);
  given.take("bound", arguments.bound);
  given.take("capacity", arguments.capacity);
  given.take("keep", arguments.keep);
  given.take("first_nonfinite", arguments.first_nonfinite);
  return launch;
}

}  // namespace pydissect::cuda
