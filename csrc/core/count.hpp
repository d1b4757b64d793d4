// Counting unit masks against concept masks, in one pass over the activations.
//
// For every image: lay out its masks side by side (lay_out_masks). For every block of units: scan
// their maps against the lowest level (scan.hpp). For every map that has a value above it: list the
// words that may have pixels (list_few_items, list_many_items), interpolate these and keep those that have some
// (find_words), AND and popcount the words found against all masks of the image side by side (count_words), and add
// up (flush).
//
// Isa is an instruction set's description (csrc/cpu/isa_*.hpp). Functions here are templates
// over it, all of them, so that the linker can never put one set's code in the place of another's.
#pragma once

#include "scan.hpp"
#include "share.hpp"
#include "words.hpp"

namespace pydissect {

constexpr int64_t kBlockBytes = 1 << 15;  // of the maps that are scanned together, so that they stay in the cache
constexpr int64_t kAheadBytes = 1 << 16;  // of maps fetched beyond the block that is counted
constexpr int64_t kMostAhead = 256;       // bytes fetched for an item
constexpr int64_t kGroups = 12;           // a map's bytes over those fetched before its words are counted, and again after
constexpr int64_t kMostGroup = 1 << 10;   // of these: about as many lines as can be on their way
constexpr int64_t kLateBytes = 1 << 20;   // of an image's last maps, with which the next one's masks are fetched
constexpr int kDecodedF16 = 256;          // values, at most, of a map of halves that is decoded as a whole
constexpr int kDecodedBf16 = 64;          // fewer, for these take fewer instructions where they are needed
constexpr int kMaxPairs = 15;  // pairs of words after which a byte could overflow: 15 * 2 * 8 < 2^8

// One thread's memory, all from one allocation.
struct Workspace {
  HalfCut* cuts;          // [U] of halves: the lowest thresholds
  float* scratch;         // [kUnitBlock, h * w] maps that are not counted in place, and 2 * kWord values more
  float* finite;          // [h * w]
  float* around;          // [h * w + kWord] if units lie side by side; NaN between two maps
  Hot* hot;               // [units scanned together, hot_capacity(h * w)] values above the lowest level
  Scan* scans;            // [units scanned together]
  ManyMarks marks;
  Item* items;            // [pair_count * words + kAppendSlack]
  uint8_t* table;         // [blocks, places, kMaskBlock] the image's masks, words side by side, and a row more
  Found* found;           // [L, found_capacity]
  int64_t* found_counts;  // [L]
  uint32_t* totals;       // [blocks * kMaskBlock]
};

inline __attribute__((always_inline)) int64_t places_of(const Geometry& geometry) {
  return static_cast<int64_t>(geometry.H) * geometry.row_bytes;
}

// Entries of a list of words found, and those beyond its end that may be written.
inline __attribute__((always_inline)) int64_t found_capacity(const Geometry& geometry) {
  return places_of(geometry) + kAppendSlack;
}

// The image's masks with the words of one place side by side, and after them a mask that is
// full, whose count is the unit's area. Returns the number of blocks.
template <class Isa>
int lay_out_masks(const Masks& masks, int64_t n, const Geometry& geometry, const Workspace& workspace) {
  const int64_t places = places_of(geometry);
  const int64_t begin = masks.bitmap_ranges[2 * n];
  const int count = static_cast<int>(masks.bitmap_ranges[2 * n + 1] - begin);
  const int blocks = count / kMaskBlock + 1;
  for (int block = 0; block < blocks; ++block) {
    const uint8_t* rows[kMaskBlock];
    for (int i = 0; i < kMaskBlock; ++i) {
      const int mask = block * kMaskBlock + i;
      rows[i] = mask < count ? masks.bitmaps + (begin + mask) * places
                             : mask == count ? geometry.full : geometry.empty;
    }
    uint8_t* table = workspace.table + block * places * kMaskBlock;
    int64_t place = 0;
    for (; place + 16 <= places; place += 16) Isa::transpose_masks(rows, place, table + place * kMaskBlock);
    for (; place < places; ++place) {
      for (int i = 0; i < kMaskBlock; ++i) table[place * kMaskBlock + i] = rows[i][place];
    }
  }
  return blocks;
}

// totals[m] = pixels that the words share with mask m.
template <class Isa>
void count_words(const uint8_t* table, int blocks, const Geometry& geometry, const Found* found, int64_t count,
                 uint32_t* totals) {
  const int64_t row_step = static_cast<int64_t>(geometry.row_bytes) * kMaskBlock;
  for (int block = 0; block < blocks; ++block, table += places_of(geometry) * kMaskBlock, totals += kMaskBlock) {
    const int first = static_cast<int>(std::min<int64_t>(count, kMaxPairs));
    Isa::template count_bits<false>(table, row_step, found, first, totals);
    for (int64_t begin = first; begin < count; begin += kMaxPairs) {
      const int pairs = static_cast<int>(std::min<int64_t>(count - begin, kMaxPairs));
      Isa::template count_bits<true>(table, row_step, found + begin, pairs, totals);
    }
  }
}

// What is constant while a part is counted.
struct Task {
  const Acts& acts;
  const Masks& masks;
  const Geometry& geometry;
  const float* thresholds;  // [L, U]
  const float* lowest;      // [U] of the levels
  int levels;
  bool nonfinite_off;
};

// Adds what the totals say of a unit on an image.
template <class Isa>
void flush(const Task& task, int64_t n, int64_t row, const uint32_t* totals, const Counters& counters) {
  const Masks& masks = task.masks;
  const int64_t begin = masks.bitmap_ranges[2 * n], bitmaps = masks.bitmap_ranges[2 * n + 1] - begin;
  const int64_t area = totals[bitmaps];
  int64_t* intersection = counters.intersection + row * masks.concepts;
  for (int64_t m = 0; m < bitmaps; ++m) intersection[masks.bitmap_concepts[begin + m]] += totals[m];
  for (int64_t j = masks.whole_ranges[2 * n]; j < masks.whole_ranges[2 * n + 1]; ++j) {
    intersection[masks.whole_concepts[j]] += area;
  }
  for (int64_t k = 0; k < masks.categories; ++k) {
    counters.unit_area[row * masks.categories + k] += masks.annotated[n * masks.categories + k] * area;
  }
  counters.unit_area_all[row] += area;
}

template <class Isa, bool kFew, class Map>
void count_map_in(const Task& task, const Map& map, const Hot* hot, int hot_count, int64_t n, int64_t u, int blocks,
                  const Workspace& workspace, const Counters& counters, Prefetch& prefetch) {
  const Geometry& geometry = task.geometry;
  const int64_t units = task.acts.units, capacity = found_capacity(geometry);
  int64_t items;
  if constexpr (kFew) {
    items = list_few_items<Isa>(map, hot, hot_count, geometry, task.lowest[u], workspace.items, prefetch);
  } else {
    items = list_many_items<Isa>(map, hot, hot_count, geometry, task.lowest[u], workspace.marks, workspace.items,
                                 prefetch);
  }
  const auto find = task.levels == 1 ? find_words<Isa, kFew, true, Map> : find_words<Isa, kFew, false, Map>;
  find(map, geometry, workspace.items, items, task.thresholds + u, units, task.levels, capacity, workspace.found,
       workspace.found_counts, prefetch);
  for (int level = 0; level < task.levels; ++level) {
    const int64_t found = workspace.found_counts[level];
    if (found == 0) continue;
    prefetch.fetch_group();
    count_words<Isa>(workspace.table, blocks, geometry, workspace.found + level * capacity, found, workspace.totals);
    prefetch.fetch_group();
    flush<Isa>(task, n, level * units + u, workspace.totals, counters);
  }
}

template <class Isa, class Map>
void count_map(const Task& task, const Map& map, const Hot* hot, int hot_count, int64_t n, int64_t u, int blocks,
               const Workspace& workspace, const Counters& counters, Prefetch& prefetch) {
  const bool few = task.geometry.pair_count <= kFewPairs && task.geometry.words <= kFewWords;
  const auto count = few ? count_map_in<Isa, true, Map> : count_map_in<Isa, false, Map>;
  count(task, map, hot, hot_count, n, u, blocks, workspace, counters, prefetch);
}

// Counts a map whose values are far from each other: those that matter are brought together first.
template <class Isa, Dtype kDtype>
void count_around(const Task& task, const StridedMap<Isa, kDtype>& map, const Hot* hot, int hot_count, int64_t n,
                  int64_t u, int blocks, const Workspace& workspace, const Counters& counters, Prefetch& prefetch) {
  const Geometry& geometry = task.geometry;
  float* const around = workspace.around;
  visit_around(hot, hot_count, geometry, [&](const Spot& spot) __attribute__((always_inline)) {
    around[spot.place] = map.at(spot);
  });
  const RowMap<Isa, Dtype::f32> gathered = {around};
  count_map<Isa>(task, gathered, hot, hot_count, n, u, blocks, workspace, counters, prefetch);
  visit_around(hot, hot_count, geometry, [&](const Spot& spot) __attribute__((always_inline)) {
    around[spot.place] = float_of(kNan);
  });
}

// How the maps of a block lie in memory.
enum class Order {
  rows,   // each contiguous, and such that RowMap can read it
  maps,   // each contiguous
  units,  // the units' values side by side
};

// Counts a map with non-finite values, which are read as NaN, so that no comparison or interpolation with one of
// them comes out above a threshold.
template <class Isa, Dtype kDtype>
void count_nonfinite_map(const Task& task, const Block<typename Element<kDtype>::Stored>& block, int i, int64_t n,
                         int blocks, const Workspace& workspace, const Counters& counters, Prefetch& prefetch) {
  const int h = task.geometry.h, w = task.geometry.w, size = h * w;
  copy_map<Isa, kDtype>(block, i, h, w, workspace.finite);
  for (int place = 0; place < size; ++place) {
    if (is_nonfinite(workspace.finite[place])) workspace.finite[place] = float_of(kNan);
  }
  const int64_t u = block.first_unit + i;
  Hot* hot = workspace.hot + i * hot_capacity(size);
  typename Isa::template MapScan<Dtype::f32> scan;
  const int hot_count = scan.find(workspace.finite, size, task.lowest[u], hot, prefetch.next);
  if (hot_count == 0) return;
  const StridedMap<Isa, Dtype::f32> map = {workspace.finite, w, 1};
  count_map<Isa>(task, map, hot, hot_count, n, u, blocks, workspace, counters, prefetch);
}

// The lowest thresholds, as stored values are compared with them.
template <Dtype kDtype>
const typename Element<kDtype>::Cut* cuts_of(const Task& task, const Workspace& workspace) {
  if constexpr (kDtype == Dtype::f32) {
    return task.lowest;
  } else {
    return workspace.cuts;
  }
}

// May a contiguous map be read by registers, which reach beyond it? `end` is that of the memory that may be read.
template <class Stored>
__attribute__((always_inline)) inline bool is_readable(const Stored* map, int size, const Stored* end) {
  return map + size + kWord <= end;
}

// Decodes the live ones of up to 32 of a block's maps. All before any is counted: where a map has just been decoded,
// what reads it waits for the stores that it straddles. In their order, for each may write beyond its place.
template <class Isa, Dtype kDtype>
void decode_maps(const Block<typename Element<kDtype>::Stored>& block, int first, uint32_t live, int size,
                 const typename Element<kDtype>::Stored* end, float* decoded) {
  for (; live; live &= live - 1) {
    const int i = __builtin_ctz(live);
    const auto* values = block.values + (first + i) * block.stride_u;
    if (is_readable(values, size, end)) Isa::template decode_map<kDtype>(values, size, decoded + i * size);
  }
}

// `end` is that of the memory that may be read, for Order::rows.
template <class Isa, Dtype kDtype, Order kOrder>
void count_block(const Task& task, const Block<typename Element<kDtype>::Stored>& block, int64_t n, int blocks,
                 const typename Element<kDtype>::Stored* end, const Workspace& workspace, Counters& counters,
                 Prefetch& prefetch) {
  const int h = task.geometry.h, w = task.geometry.w, size = h * w;
  Scan* scans = workspace.scans;
  for (int i = 0; i < block.units; ++i) scans[i] = {0, false};
  bool may_be_nonfinite;
  if constexpr (kOrder == Order::units) {
    may_be_nonfinite = scan_units<Isa, kDtype>(block, h, w, task.lowest + block.first_unit, workspace.hot, scans);
  } else {
    const auto* cuts = cuts_of<kDtype>(task, workspace) + block.first_unit;
    may_be_nonfinite = scan_maps<Isa, kDtype>(block, size, cuts, workspace.hot, scans, prefetch.next);
  }
  if (may_be_nonfinite) find_nonfinite<Isa, kDtype>(block, h, w, scans);
  constexpr int kMostDecoded = kDtype == Dtype::f16 ? kDecodedF16 : kDtype == Dtype::bf16 ? kDecodedBf16 : 0;
  const bool decoded = size <= kMostDecoded;
  for (int first = 0; first < block.units; first += kUnitBlock) {
    uint32_t live = live_maps(scans + first, std::min(block.units - first, kUnitBlock));
    if constexpr (kMostDecoded > 0 && kOrder == Order::rows) {
      if (decoded) decode_maps<Isa, kDtype>(block, first, live, size, end, workspace.scratch);
    }
    for (; live; live &= live - 1) {
      const int i = first + __builtin_ctz(live);
      const int64_t u = block.first_unit + i;
      const auto* values = block.values + i * block.stride_u;
      const Hot* hot = workspace.hot + i * hot_capacity(size);
      const int hot_count = scans[i].hot_count;
      if (scans[i].nonfinite) {
        counters.first_nonfinite = std::min(counters.first_nonfinite, n * task.acts.units + u);
        if (!task.nonfinite_off) continue;
        count_nonfinite_map<Isa, kDtype>(task, block, i, n, blocks, workspace, counters, prefetch);
      } else if (kOrder == Order::rows && is_readable(values, size, end)) {
        const RowMap<Isa, kDtype> map = {values};
        const RowMap<Isa, Dtype::f32> copy = {workspace.scratch + (i - first) * size};
        if (decoded) {
          count_map<Isa>(task, copy, hot, hot_count, n, u, blocks, workspace, counters, prefetch);
        } else {
          count_map<Isa>(task, map, hot, hot_count, n, u, blocks, workspace, counters, prefetch);
        }
      } else {
        const StridedMap<Isa, kDtype> map = {values, block.stride_y, block.stride_x};
        const bool gather = kOrder == Order::units && task.geometry.narrow;
        const auto count = gather ? count_around<Isa, kDtype> : count_map<Isa, StridedMap<Isa, kDtype>>;
        count(task, map, hot, hot_count, n, u, blocks, workspace, counters, prefetch);
      }
    }
  }
}

// Contiguous maps of a part, in the order in which they are counted, as if the maps of one image began where those
// of the last one end.
struct Stretch {
  const char* first;
  int64_t image_bytes;  // of the part's units
  int64_t stride;       // bytes from one image to the next

  __attribute__((always_inline)) const char* at(int64_t offset) const {
    return first + offset / image_bytes * stride + offset % image_bytes;
  }
};

// How far ahead of the blocks memory is fetched, and how fast.
struct Pace {
  int64_t group;        // bytes before a map's words are counted, and again after
  int64_t fetched = 0;  // offset in the stretch up to which it is
  int64_t usual = 0;    // items a block, a running mean
  int64_t others = 0;   // bytes that the last block fetched with other things than items

  // For a block that ends at an offset: from where on to fetch, and how much for each item.
  __attribute__((always_inline)) Prefetch prefetch(const Stretch& stretch, int64_t end) {
    // No farther, though scans and hot values of small maps fetch more than these hold: it would be gone when it is read.
    fetched = std::clamp(fetched, end, end + kAheadBytes);
    const int64_t missing = std::max<int64_t>(end + kAheadBytes - fetched - others, 0);
    return {stretch.at(fetched), std::min(missing / std::max<int64_t>(usual, 1), kMostAhead), group, 0};
  }

  __attribute__((always_inline)) void note(const Prefetch& before, const Prefetch& after) {
    const int64_t bytes = after.next - before.next;
    fetched += bytes;
    others = bytes - after.items * after.step;
    usual = (3 * usual + after.items) / 4;
  }
};

// Fetches the share begin / units .. end / units of an image's bitmaps. Inlined by force: to GCC 12 a function that only
// prefetches has no effect, and it drops the calls.
template <class Isa>
__attribute__((always_inline)) inline void prefetch_masks(const Task& task, int64_t n, int64_t begin, int64_t end,
                                                          int64_t units) {
  const int64_t places = places_of(task.geometry);
  const uint8_t* bitmaps = task.masks.bitmaps + task.masks.bitmap_ranges[2 * n] * places;
  const int64_t bytes = (task.masks.bitmap_ranges[2 * n + 1] - task.masks.bitmap_ranges[2 * n]) * places;
  for (int64_t byte = bytes * begin / units; byte < bytes * end / units; byte += kLine) {
    __builtin_prefetch(bitmaps + byte, 0, 2);
  }
}

// Takes from a part its last units, at most half of what is left, for another thread to count. On the part's first image
// the units below `counted` are done.
template <class Isa>
Part give_half(const Acts& acts, Part& part, int64_t counted) {
  const int64_t images = part.image_end - part.image_begin;
  const int64_t left = (part.unit_end - part.unit_begin) * images - (counted - part.unit_begin);
  const int64_t together = acts.stride_u == 1 ? kUnitBlock : 1;  // units that are compared side by side
  const int64_t units = std::min(left / images / 2, part.unit_end - counted) / together * together;
  part.unit_end -= units;
  return {part.image_begin, part.image_end, part.unit_end, part.unit_end + units};
}

// Counts a part, except units that it gives away meanwhile.
template <class Isa, Dtype kDtype>
void count_part(const Task& task, Part part, const Workspace& workspace, Counters& counters, Share& share) {
  using Stored = typename Element<kDtype>::Stored;
  const Acts& acts = task.acts;
  const Geometry& geometry = task.geometry;
  const int h = acts.h, w = acts.w;
  const bool contiguous = (acts.stride_x == 1 || w == 1) && (acts.stride_y == w || h == 1);
  const Stored* end = static_cast<const Stored*>(acts.end);
  const int64_t map_bytes = static_cast<int64_t>(h) * w * sizeof(Stored);
  const int64_t in_cache = std::clamp<int64_t>(kBlockBytes / map_bytes, 1, kUnitBlock);
  const int64_t block_units = contiguous ? in_cache : units_together(acts);
  const int64_t late_units = std::max<int64_t>(kLateBytes / map_bytes, 1);
  const auto* const data = static_cast<const Stored*>(acts.data);
  if constexpr (kDtype != Dtype::f32) {
    for (int64_t u = part.unit_begin; u < part.unit_end; ++u) workspace.cuts[u] = Element<kDtype>::cut(task.lowest[u]);
  }
  const auto rest = [&]() __attribute__((always_inline)) {
    return Stretch{reinterpret_cast<const char*>(data + part.image_begin * acts.stride_n + part.unit_begin * acts.stride_u),
                   (part.unit_end - part.unit_begin) * map_bytes,
                   acts.stride_n * static_cast<int64_t>(sizeof(Stored))};
  };
  Stretch stretch = rest();
  const int64_t group = std::min(map_bytes / (kGroups * task.levels), kMostGroup) / kLine * kLine;
  Pace pace = {group};
  int64_t earlier = 0;  // maps of the stretch that belong to earlier images
  for (; part.image_begin < part.image_end; ++part.image_begin, earlier += part.unit_end - part.unit_begin) {
    const int64_t n = part.image_begin;
    const int blocks = lay_out_masks<Isa>(task.masks, n, geometry, workspace);
    for (int64_t u0 = part.unit_begin; u0 < part.unit_end; u0 += block_units) {
      if (share.asked()) {
        const Part given = give_half<Isa>(acts, part, u0);
        share.answer(given);
        if (!given.empty()) {
          stretch = rest();
          pace = {group};
          earlier = 0;
          if (u0 == part.unit_end) break;
        }
      }
      const Block<Stored> block = {data + n * acts.stride_n + u0 * acts.stride_u,
                                   u0,
                                   static_cast<int>(std::min<int64_t>(block_units, part.unit_end - u0)),
                                   acts.stride_u,
                                   acts.stride_y,
                                   acts.stride_x};
      const int64_t maps = earlier + u0 - part.unit_begin;
      const Prefetch before = contiguous
                                  ? pace.prefetch(stretch, (maps + block.units) * map_bytes)
                                  : Prefetch{reinterpret_cast<const char*>(block.values + acts.stride_n), 0, 0, 0};
      Prefetch prefetch = before;
      if (n + 1 < part.image_end) {
        const int64_t first = std::max(part.unit_begin, part.unit_end - late_units), units = part.unit_end - first;
        const int64_t begin = std::max<int64_t>(u0 - first, 0), end = u0 + block.units - first;
        if (end > 0) prefetch_masks<Isa>(task, n + 1, begin, end, units);
      }
      if (contiguous && geometry.narrow) {
        count_block<Isa, kDtype, Order::rows>(task, block, n, blocks, end, workspace, counters, prefetch);
      } else if (contiguous) {
        count_block<Isa, kDtype, Order::maps>(task, block, n, blocks, end, workspace, counters, prefetch);
      } else if (acts.stride_u == 1) {
        count_block<Isa, kDtype, Order::units>(task, block, n, blocks, end, workspace, counters, prefetch);
      } else {
        for (int u = 0; u < block.units; ++u) {
          copy_map<Isa, kDtype>(block, u, h, w, workspace.scratch + static_cast<int64_t>(u) * h * w);
        }
        const Block<float> copy = {workspace.scratch, u0, block.units, static_cast<int64_t>(h) * w, w, 1};
        count_block<Isa, Dtype::f32, Order::maps>(task, copy, n, blocks, nullptr, workspace, counters, prefetch);
      }
      pace.note(before, prefetch);
    }
  }
}

template <class Isa>
void count(const Task& task, const Part& part, const Workspace& workspace, Counters& counters, Share& share) {
  switch (task.acts.dtype) {
    case Dtype::f32:
      return count_part<Isa, Dtype::f32>(task, part, workspace, counters, share);
    case Dtype::f16:
      return count_part<Isa, Dtype::f16>(task, part, workspace, counters, share);
    case Dtype::bf16:
      return count_part<Isa, Dtype::bf16>(task, part, workspace, counters, share);
  }
}

}  // namespace pydissect
