#include "backend.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include <omp.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "denormals.hpp"
#include "geometry.hpp"
#include "levels.hpp"

namespace pydissect {
namespace {

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
constexpr size_t kAlignment = 64;

// One aligned block of memory, handed out in aligned pieces.
class Arena {
 public:
  template <class T>
  void reserve(T** target, int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    pieces_.push_back({[target](char* place) { *target = reinterpret_cast<T*>(place); }, size_, size_ + bytes});
    size_ += (bytes + kGap + kAlignment - 1) / kAlignment * kAlignment;
  }

  void allocate() {
    memory_.reset(new (std::align_val_t(kAlignment)) char[std::max(size_, kAlignment)]);
    for (const Piece& piece : pieces_) piece.place(memory_.get() + piece.begin);
#if defined(__SANITIZE_ADDRESS__)
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const size_t next = i + 1 < pieces_.size() ? pieces_[i + 1].begin : size_;
      ASAN_POISON_MEMORY_REGION(memory_.get() + pieces_[i].end, next - pieces_[i].end);
    }
#endif
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kGap = kAlignment;  // so that no piece's end touches the next piece
#else
  static constexpr size_t kGap = 0;
#endif
  struct Piece {
    std::function<void(char*)> place;
    size_t begin, end;
  };
  struct Free {
    void operator()(char* memory) const { ::operator delete[](memory, std::align_val_t(kAlignment)); }
  };
  std::vector<Piece> pieces_;
  size_t size_ = 0;
  std::unique_ptr<char[], Free> memory_;
};

int64_t share(int64_t total, int parts, int part) { return total * part / parts; }

float prune(float* values, int64_t capacity, int64_t keep) {
  std::nth_element(values, values + keep - 1, values + capacity, std::greater<float>());
  return values[keep - 1];
}

}  // namespace

void count(const Acts& acts, const Masks& masks, const AxisTable& rows, const AxisTable& columns,
           const float* thresholds, int levels, bool nonfinite_off, int threads, const std::string& level_cap,
           Counters& counters) {
  const Level& level = best_level(level_cap);
  const GeometryTables tables(rows, columns, acts.h, acts.w);
  const Geometry& geometry = tables.view();
  const int64_t places = static_cast<int64_t>(geometry.H) * geometry.words;
  const int64_t size = static_cast<int64_t>(acts.h) * acts.w;
  const int64_t blocks = masks.max_bitmaps / kMaskBlock + 1;

  // Threads share out the units, so that no two add to the same counter. Only a layer with too
  // few units to go round is split by images as well, each of these parts with counters of its own.
  const int unit_parts = static_cast<int>(std::clamp<int64_t>(acts.units / kUnitBlock, 1, threads));
  const int image_parts = static_cast<int>(std::clamp<int64_t>(threads / unit_parts, 1, std::max<int64_t>(acts.images, 1)));
  const int64_t row_count = levels * acts.units;
  const int64_t sums = row_count * (masks.concepts + masks.categories + 1);
  std::vector<std::vector<int64_t>> own(image_parts - 1);
  std::vector<Counters> targets(image_parts, counters);
  for (int i = 1; i < image_parts; ++i) {
    own[i - 1].assign(sums, 0);
    int64_t* memory = own[i - 1].data();
    targets[i].intersection = memory;
    targets[i].unit_area = memory + row_count * masks.concepts;
    targets[i].unit_area_all = memory + row_count * (masks.concepts + masks.categories);
  }

  const int parts = unit_parts * image_parts;
  std::vector<int64_t> first_nonfinite(parts, kNone);
  std::vector<Workspace> workspaces(parts);
  std::vector<Arena> arenas(parts);
  for (int i = 0; i < parts; ++i) {
    Workspace& workspace = workspaces[i];
    arenas[i].reserve(&workspace.scratch, kUnitBlock * size);
    arenas[i].reserve(&workspace.finite, size);
    arenas[i].reserve(&workspace.hot, size / 64 + 2);
    arenas[i].reserve(&workspace.table, blocks * places * kMaskBlock);
    arenas[i].reserve(&workspace.word_places, levels * places);
    arenas[i].reserve(&workspace.word_bits, levels * places);
    arenas[i].reserve(&workspace.word_counts, levels);
    arenas[i].reserve(&workspace.totals, blocks * kMaskBlock);
    arenas[i].allocate();
  }

#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int i = 0; i < parts; ++i) {
    const KeepDenormals keep_denormals;
    const int unit_part = i % unit_parts, image_part = i / unit_parts;
    const Part part = {share(acts.images, image_parts, image_part), share(acts.images, image_parts, image_part + 1),
                       share(acts.units, unit_parts, unit_part), share(acts.units, unit_parts, unit_part + 1)};
    Counters target = targets[image_part];
    target.first_nonfinite = kNone;
    level.count(acts, masks, geometry, thresholds, levels, nonfinite_off, part, workspaces[i], target);
    first_nonfinite[i] = target.first_nonfinite;
  }

  counters.first_nonfinite = *std::min_element(first_nonfinite.begin(), first_nonfinite.end());
  for (const Counters& target : targets) {
    if (target.intersection == counters.intersection) continue;
    for (int64_t i = 0; i < row_count * masks.concepts; ++i) counters.intersection[i] += target.intersection[i];
    for (int64_t i = 0; i < row_count * masks.categories; ++i) counters.unit_area[i] += target.unit_area[i];
    for (int64_t i = 0; i < row_count; ++i) counters.unit_area_all[i] += target.unit_area_all[i];
  }
}

void select(const Acts& acts, int threads, const std::string& level_cap, Selection& selection) {
  const Level& level = best_level(level_cap);
  const int64_t size = static_cast<int64_t>(acts.h) * acts.w;
  const int parts = static_cast<int>(std::clamp<int64_t>(acts.units, 1, threads));
  struct Memory {
    float* scratch;
    float* finite;
    uint64_t* hot;
  };
  std::vector<Memory> memories(parts);
  std::vector<Arena> arenas(parts);
  for (int i = 0; i < parts; ++i) {
    arenas[i].reserve(&memories[i].scratch, kUnitBlock * size);
    arenas[i].reserve(&memories[i].finite, size);
    arenas[i].reserve(&memories[i].hot, size / 64 + 2);
    arenas[i].allocate();
  }
  std::vector<int64_t> first_nonfinite(parts, kNone);

#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int i = 0; i < parts; ++i) {
    const KeepDenormals keep_denormals;
    const Part part = {0, acts.images, share(acts.units, parts, i), share(acts.units, parts, i + 1)};
    Selection own = selection;
    own.first_nonfinite = kNone;
    level.select(acts, part, prune, memories[i].scratch, memories[i].finite, memories[i].hot, own);
    first_nonfinite[i] = own.first_nonfinite;
  }
  selection.first_nonfinite = *std::min_element(first_nonfinite.begin(), first_nonfinite.end());
}

}  // namespace pydissect
