// The sifting of a batch: splits the images over threads.
#pragma once

#include <cstdint>
#include <string>

#include "../core/sift.hpp"

namespace pydissect {

// Bits of wanted values, an image each `words` further on.
struct WantedImages {
  uint64_t* bits;
  int64_t images, units;
  int h, w;

  Wanted image(int64_t n) const {
    const Wanted first = {bits, units, h, w};
    return {bits + n * first.words(), units, h, w};
  }
};

// Candidates of several images, one after the other.
struct CandidateImages {
  const int64_t* offsets;  // [images + 1]
  const int32_t* places;
  const void* values;
  Dtype dtype;
};

// Marks what is wanted of the activations, counts it per image, and finds the peaks [images, U].
void sift(const Acts& acts, const float* bound, const float* peak_bound, int threads, const std::string& level_cap,
          const WantedImages& wanted, int64_t* counts, const Peaks& peaks);

// Copies what is wanted of image n to offsets[n] and on.
void gather(const Acts& acts, const WantedImages& wanted, const int64_t* offsets, int threads, int32_t* places,
            void* values);

// Marks and counts what is wanted of the candidates under a higher bound.
void mark(const CandidateImages& candidates, const float* bound, int threads, const WantedImages& wanted,
          int64_t* counts);

// Copies what is wanted of image n's candidates to offsets[n] and on.
void keep(const CandidateImages& candidates, const WantedImages& wanted, const int64_t* offsets, int threads,
          int32_t* places, void* values);

// Writes activations [images, image_values], the lowest finite value where there is no candidate.
void spread(const CandidateImages& candidates, int64_t images, int64_t image_values, int threads, void* acts);

}  // namespace pydissect
