// Included ahead of levels.cpp where AVX-512 is emulated (setup.py): every processor is said to have it.
#pragma once

namespace emulated {

constexpr bool is_avx512(const char* feature) {
  for (const char* name = "avx512"; *name; ++name, ++feature) {
    if (*feature != *name) return false;
  }
  return true;
}

}  // namespace emulated

#define __builtin_cpu_supports(feature) (emulated::is_avx512(feature) || __builtin_cpu_supports(feature))
