#include "sift.hpp"

#include <algorithm>
#include <vector>

#include <omp.h>

#include "arena.hpp"
#include "denormals.hpp"
#include "level.hpp"

namespace pydissect {
namespace {

// Calls a function with the dtype as a constant.
template <class Function>
void with_dtype(Dtype dtype, const Function& function) {
  switch (dtype) {
    case Dtype::f32:
      return function(std::integral_constant<Dtype, Dtype::f32>{});
    case Dtype::f16:
      return function(std::integral_constant<Dtype, Dtype::f16>{});
    case Dtype::bf16:
      return function(std::integral_constant<Dtype, Dtype::bf16>{});
  }
}

template <class Stored>
Candidates<Stored> candidates_of(const CandidateImages& images, int64_t n) {
  const int64_t begin = images.offsets[n];
  return {images.places + begin, static_cast<const Stored*>(images.values) + begin, images.offsets[n + 1] - begin};
}

}  // namespace

void sift(const Acts& acts, const float* bound, const float* peak_bound, int threads, const std::string& level_cap,
          const WantedImages& wanted, int64_t* counts, const Peaks& peaks) {
  const Level& level = best_level(level_cap);
  const int64_t size = static_cast<int64_t>(acts.h) * acts.w;
  std::vector<float> lowest(acts.units);
  {
    const KeepDenormals keep_denormals;
    for (int64_t u = 0; u < acts.units; ++u) lowest[u] = std::min(bound[u], peak_bound[u]);
  }
  const int parts = static_cast<int>(std::clamp<int64_t>(acts.images, 1, threads));
  std::vector<SiftMemory> memories(parts);
  std::vector<Arena> arenas(parts);
  for (int i = 0; i < parts; ++i) {
    arenas[i].reserve(&memories[i].hot, units_together(acts) * hot_capacity(size));
    arenas[i].reserve(&memories[i].scans, units_together(acts));
    arenas[i].reserve(&memories[i].scratch, kUnitBlock * size);
    arenas[i].allocate();
  }
#pragma omp parallel for num_threads(parts) schedule(dynamic, 1)
  for (int64_t n = 0; n < acts.images; ++n) {
    const KeepDenormals keep_denormals;
    const Bounds bounds = {bound, peak_bound, lowest.data()};
    const Peaks of_image = {peaks.values + n * acts.units, peaks.places + n * acts.units};
    std::fill_n(of_image.values, acts.units, -kInfinity);
    std::fill_n(of_image.places, acts.units, 0);
    level.sift_image(acts, n, bounds, memories[omp_get_thread_num()], wanted.image(n), of_image);
    counts[n] = wanted.image(n).count();
  }
}

void gather(const Acts& acts, const WantedImages& wanted, const int64_t* offsets, int threads, int32_t* places,
            void* values) {
  with_dtype(acts.dtype, [&](auto dtype) {
    using Stored = typename Element<decltype(dtype)::value>::Stored;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t n = 0; n < acts.images; ++n) {
      gather_wanted(acts, n, wanted.image(n), places + offsets[n], static_cast<Stored*>(values) + offsets[n]);
    }
  });
}

void mark(const CandidateImages& candidates, const float* bound, int threads, const WantedImages& wanted,
          int64_t* counts) {
  with_dtype(candidates.dtype, [&](auto dtype) {
    constexpr Dtype kDtype = decltype(dtype)::value;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t n = 0; n < wanted.images; ++n) {
      const KeepDenormals keep_denormals;
      using Stored = typename Element<kDtype>::Stored;
      mark_candidates<kDtype>(candidates_of<Stored>(candidates, n), bound, wanted.image(n));
      counts[n] = wanted.image(n).count();
    }
  });
}

void keep(const CandidateImages& candidates, const WantedImages& wanted, const int64_t* offsets, int threads,
          int32_t* places, void* values) {
  with_dtype(candidates.dtype, [&](auto dtype) {
    using Stored = typename Element<decltype(dtype)::value>::Stored;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t n = 0; n < wanted.images; ++n) {
      keep_wanted(candidates_of<Stored>(candidates, n), wanted.image(n), places + offsets[n],
                  static_cast<Stored*>(values) + offsets[n]);
    }
  });
}

void spread(const CandidateImages& candidates, int64_t images, int64_t image_values, int threads, void* acts) {
  with_dtype(candidates.dtype, [&](auto dtype) {
    constexpr Dtype kDtype = decltype(dtype)::value;
    using Stored = typename Element<kDtype>::Stored;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t n = 0; n < images; ++n) {
      spread_image<kDtype>(candidates_of<Stored>(candidates, n), image_values,
                           static_cast<Stored*>(acts) + n * image_values);
    }
  });
}

}  // namespace pydissect
