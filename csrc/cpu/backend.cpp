#include "backend.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>
#include <vector>

#include <omp.h>

#include "arena.hpp"
#include "denormals.hpp"
#include "level.hpp"

namespace pydissect {
namespace {

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

int64_t begin_of(int64_t total, int parts, int part) { return total * part / parts; }

// The calling thread's memory, kept from one call to the next: the first touch of a page costs more than a map.
const Workspace& workspace_of(const Task& task, int64_t max_bitmaps) {
  thread_local Arena own_arena;
  thread_local Workspace own_workspace;
  Arena& arena = own_arena;  // its place is looked up once
  Workspace& workspace = own_workspace;
  const Geometry& geometry = task.geometry;
  const int64_t size = static_cast<int64_t>(geometry.h) * geometry.w, places = places_of(geometry);
  const int64_t blocks = max_bitmaps / kMaskBlock + 1, around = task.acts.stride_u == 1 ? size + kWord : 0;
  const int64_t marked_words = geometry.pair_count * geometry.word_masks, live_pairs = geometry.pair_count / 64 + 1;
  arena.reserve(&workspace.cuts, task.acts.dtype == Dtype::f32 ? 0 : task.acts.units);
  arena.reserve(&workspace.scratch, kUnitBlock * size + 2 * kWord);
  arena.reserve(&workspace.finite, size);
  arena.reserve(&workspace.around, around);
  arena.reserve(&workspace.hot, units_together(task.acts) * hot_capacity(size));
  arena.reserve(&workspace.scans, units_together(task.acts));
  arena.reserve(&workspace.marks.words, marked_words);
  arena.reserve(&workspace.marks.live_pairs, live_pairs);
  arena.reserve(&workspace.items, geometry.pair_count * geometry.words + kAppendSlack);
  arena.reserve(&workspace.table, (blocks * places + geometry.row_bytes) * kMaskBlock);
  arena.reserve(&workspace.found, task.levels * found_capacity(geometry));
  arena.reserve(&workspace.found_counts, task.levels);
  arena.reserve(&workspace.totals, blocks * kMaskBlock);
  arena.allocate();
  std::fill_n(workspace.around, around, float_of(kNan));
  std::fill_n(workspace.marks.words, marked_words, 0);
  std::fill_n(workspace.marks.live_pairs, live_pairs, 0);
  return workspace;
}

struct Parts {
  int units, images;
};

// Threads that share out the units add to different counters, but each lays out the masks of every image; those that
// share out the images need counters of their own, which are then added up. What goes through memory decides.
Parts parts_of(const Task& task, int64_t max_bitmaps, int threads) {
  const Acts& acts = task.acts;
  const int64_t size = static_cast<int64_t>(acts.h) * acts.w;
  const double map_bytes = static_cast<double>(acts.images * acts.units * size) * sizeof(float);
  const double mask_bytes = static_cast<double>(acts.images * max_bitmaps * places_of(task.geometry));
  const double sums_bytes = static_cast<double>(task.levels * acts.units) * sizeof(int64_t) *
                            static_cast<double>(task.masks.concepts + task.masks.categories + 1);
  Parts best = {1, 1};
  double least = std::numeric_limits<double>::infinity();
  for (int units = 1; units <= std::clamp<int64_t>(acts.units / kUnitBlock, 1, threads); ++units) {
    const int images = static_cast<int>(std::clamp<int64_t>(threads / units, 1, std::max<int64_t>(acts.images, 1)));
    // Masks are read and laid out; counters of their own are written and added up, by all threads.
    const double bytes = map_bytes / (units * images) + 2 * (mask_bytes / images + (images > 1 ? sums_bytes : 0));
    if (bytes < least) {
      least = bytes;
      best = {units, images};
    }
  }
  return best;
}

// Adds the counters of a unit at a level to others.
void add_row(const Masks& masks, int64_t row, const Counters& from, const Counters& to) {
  const auto add = [row](const int64_t* source, int64_t* target, int64_t columns) {
    for (int64_t i = row * columns; i < (row + 1) * columns; ++i) target[i] += source[i];
  };
  add(from.intersection, to.intersection, masks.concepts);
  add(from.unit_area, to.unit_area, masks.categories);
  add(from.unit_area_all, to.unit_area_all, 1);
}

void add_concept_area(const Masks& masks, int64_t images, int64_t pixels, int64_t* concept_area) {
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t i = masks.bitmap_ranges[2 * n]; i < masks.bitmap_ranges[2 * n + 1]; ++i) {
      concept_area[masks.bitmap_concepts[i]] += masks.bitmap_pixels[i];
    }
    for (int64_t i = masks.whole_ranges[2 * n]; i < masks.whole_ranges[2 * n + 1]; ++i) {
      concept_area[masks.whole_concepts[i]] += pixels;
    }
  }
}

}  // namespace

void count(const Acts& acts, const Masks& masks, const Geometry& geometry, const float* thresholds, int levels,
           bool nonfinite_off, int threads, const std::string& level_cap, Counters& counters) {
  const Level& level = best_level(level_cap);

  int64_t max_bitmaps = 0;
  for (int64_t n = 0; n < acts.images; ++n) {
    max_bitmaps = std::max(max_bitmaps, masks.bitmap_ranges[2 * n + 1] - masks.bitmap_ranges[2 * n]);
  }
  const KeepDenormals keep_denormals;
  std::vector<float> lowest(thresholds, thresholds + acts.units);
  for (int64_t i = acts.units; i < levels * acts.units; ++i) {
    lowest[i % acts.units] = std::fmin(lowest[i % acts.units], thresholds[i]);  // NaN is no level
  }
  const Task task = {acts, masks, geometry, thresholds, lowest.data(), levels, nonfinite_off};

  const Parts sides = parts_of(task, max_bitmaps, threads);
  const int unit_parts = sides.units, image_parts = sides.images;
  const int64_t row_count = levels * acts.units;
  const int64_t sums = row_count * (masks.concepts + masks.categories + 1);
  thread_local Arena sums_arena;  // kept like the workspaces
  std::vector<Counters> targets(image_parts, counters);
  for (int i = 1; i < image_parts; ++i) sums_arena.reserve(&targets[i].intersection, sums);
  sums_arena.allocate();
  for (int i = 1; i < image_parts; ++i) {
    targets[i].unit_area = targets[i].intersection + row_count * masks.concepts;
    targets[i].unit_area_all = targets[i].unit_area + row_count * masks.categories;
  }

  const int parts = unit_parts * image_parts;
  std::vector<int64_t> first_nonfinite(parts, kNone);
  std::vector<Share> shares(parts);
  std::vector<std::atomic<bool>> begun(parts);

  std::exception_ptr failure;  // of any thread, before one has counted anything

#pragma omp parallel num_threads(parts)
  {
    const KeepDenormals keep_denormals_here;
    const Workspace* workspace = nullptr;
    try {
      workspace = &workspace_of(task, max_bitmaps);
    } catch (...) {
#pragma omp critical(pydissect_count_failure)
      failure = std::current_exception();
    }
#pragma omp for schedule(static, 1)
    for (int i = 0; i < image_parts; ++i) {
      if (i > 0) std::fill_n(targets[i].intersection, sums, 0);
    }
    if (!failure) {
      const int thread = omp_get_thread_num();
      const auto count_and_share = [&](const Part& part, const Counters& target) {
        Counters own = target;
        own.first_nonfinite = first_nonfinite[thread];
        shares[thread].open(target);
        level.count(task, part, *workspace, own, shares[thread]);
        shares[thread].close();
        first_nonfinite[thread] = own.first_nonfinite;
      };
      // Its own part first; and those of threads that come late, or that OpenMP does not give.
      for (int k = 0; k < parts; ++k) {
        const int i = (thread + k) % parts, unit_part = i % unit_parts, image_part = i / unit_parts;
        if (begun[i].exchange(true)) continue;
        const Part part = {begin_of(acts.images, image_parts, image_part),
                           begin_of(acts.images, image_parts, image_part + 1),
                           begin_of(acts.units, unit_parts, unit_part), begin_of(acts.units, unit_parts, unit_part + 1)};
        count_and_share(part, targets[image_part]);
      }
      Request request;
      while (Share::take(shares, request)) count_and_share(request.part, *request.counters);
      if (image_parts > 1) {
#pragma omp barrier
#pragma omp for nowait
        for (int64_t row = 0; row < row_count; ++row) {
          for (int i = 1; i < image_parts; ++i) add_row(masks, row, targets[i], counters);
        }
      }
    }
  }
  if (failure) std::rethrow_exception(failure);

  add_concept_area(masks, acts.images, static_cast<int64_t>(geometry.H) * geometry.W, counters.concept_area);
  counters.first_nonfinite = *std::min_element(first_nonfinite.begin(), first_nonfinite.end());
}

void select(const Acts& acts, int threads, const std::string& level_cap, Selection& selection) {
  const Level& level = best_level(level_cap);
  const int64_t size = static_cast<int64_t>(acts.h) * acts.w;
  const int parts = static_cast<int>(std::clamp<int64_t>(acts.units, 1, threads));
  struct Memory {
    float* scratch;
    uint32_t* hits;
  };
  std::vector<Memory> memories(parts);
  std::vector<Arena> arenas(parts);
  for (int i = 0; i < parts; ++i) {
    arenas[i].reserve(&memories[i].scratch, size);
    arenas[i].reserve(&memories[i].hits, acts.units / 32 + 1);
    arenas[i].allocate();
  }
  std::vector<int64_t> first_nonfinite(parts, kNone);

#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int i = 0; i < parts; ++i) {
    const KeepDenormals keep_denormals;
    const Part part = {0, acts.images, begin_of(acts.units, parts, i), begin_of(acts.units, parts, i + 1)};
    Selection own = selection;
    own.first_nonfinite = kNone;
    level.select(acts, part, memories[i].scratch, memories[i].hits, own);
    first_nonfinite[i] = own.first_nonfinite;
  }
  selection.first_nonfinite = *std::min_element(first_nonfinite.begin(), first_nonfinite.end());
}

void values_of_ranks(const Selection& selection, int64_t units, const std::vector<int64_t>& ranks, int threads,
                     const std::string& level_cap, float* values) {
  const Level& level = best_level(level_cap);
  const int parts = static_cast<int>(std::clamp<int64_t>(units, 1, threads));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int i = 0; i < parts; ++i) {
    const KeepDenormals keep_denormals;
    for (int64_t u = begin_of(units, parts, i); u < begin_of(units, parts, i + 1); ++u) {
      for (size_t l = 0; l < ranks.size(); ++l) values[l * units + u] = level.value_of_rank(selection, u, ranks[l]);
    }
  }
}

}  // namespace pydissect
