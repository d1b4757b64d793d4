"""The faults that the tests must notice: one line each, in all that computes.

Not here, for no result tells:

- ``>=`` for ``>`` at the bound of a selection. A value equal to the bound is one of the ``keep`` largest or a tie of
  the smallest of them.
- ``>=`` for ``>`` in the scan of a map or of a source column, another row above or below a hot value, and marks that
  are not cleared after a map. More words are then interpolated, and all their pixels compared with the threshold.
- A bound that is the next lower value, in a selection. The buffers then hold a little more than they must.
- A barrier left out of the CUDA kernels. The host runs a block's threads one after the other.
"""

from dataclasses import dataclass

COUNT = "tests/test_count.py"
NAMED_CASES = "tests/test_count.py::test_named_case"
THRESHOLDS = "tests/test_thresholds.py"
MASKS = "tests/test_masks.py"
PACKING = "tests/test_packing.py"
COUNTS = "tests/test_counts.py"
SCORES = "tests/test_scores.py"
GRIDS = "tests/test_grids.py"
TALLY = "tests/test_tally.py"
CATEGORIES = "tests/test_categories.py"
CACHE = "tests/test_mask_cache.py"
DISASSEMBLY = "tests/test_disassembly.py"
SIFT = "tests/test_sift.py"
ONE_PASS = "tests/test_one_pass.py"
CUDA_HOST = "tests/test_cuda_host.py"
CUDA_BUILD = "tests/test_cuda_build.py"
CUDA_SELECT = "tests/test_cuda_select.py"
TRITON = "tests/test_triton_interpreter.py::test_small_cases"


@dataclass(frozen=True)
class Fault:
    """One line of a file, and what it becomes.

    Attributes:
        name: for the report and ``--only``.
        file: from the root of the repository.
        snippet: stands in the file exactly once.
        replacement: of the snippet.
        tests: what must fail, as pytest takes it.
        build: of ``scripts/try_build.py``; empty for the plain one.
        says: what the failure must say, where others than the one meant are possible.
    """

    name: str
    file: str
    snippet: str
    replacement: str
    tests: str
    build: str = "quick"
    says: str = ""


FAULTS = [
    # --- interpolation and comparison
    # Nothing is fused at -O1, the quick build's.
    Fault("fused-multiply-add", "setup.py", '"-ffp-contract=off"', '"-ffp-contract=fast", "-mfma"', COUNT, build=""),
    Fault(
        "fused-multiply-add-avx512", "setup.py", '"-ffp-contract=off"', '"-ffp-contract=fast"', DISASSEMBLY, build=""
    ),
    Fault(
        "weighted-mean",
        "csrc/core/lerp.hpp",
        "return rounded::add(start, rounded::multiply(t, difference));",
        "return (1.0f - t) * start + t * (start + difference);",
        COUNT,
    ),
    Fault(
        "columns-before-rows",
        "csrc/core/words.hpp",
        "cells.at(Isa::load_rows(pair.fractions + j * Isa::kRows)).at(tx)",
        "Lerp<Lanes>(cells.at(Lanes{}).at(tx), cells.at(Lanes{} + 1.0f).at(tx))"
        ".at(Isa::load_rows(pair.fractions + j * Isa::kRows))",
        COUNT,
    ),
    Fault(
        "top-for-bottom",
        "csrc/core/maps.hpp",
        "values + pair.bottom + word.first",
        "values + pair.top + word.first",
        COUNT,
    ),
    Fault(
        "greater-or-equal-portable",
        "csrc/cpu/isa_portable.hpp",
        "(values[row] > Lanes{} + threshold)",
        "(values[row] >= Lanes{} + threshold)",
        COUNT,
    ),
    Fault(
        "greater-or-equal-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "_mm256_cmp_ps(value, threshold, _CMP_GT_OQ)",
        "_mm256_cmp_ps(value, threshold, _CMP_GE_OQ)",
        COUNT,
    ),
    Fault(
        "nan-is-greater-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "_mm256_cmp_ps(value, threshold, _CMP_GT_OQ)",
        "_mm256_cmp_ps(value, threshold, _CMP_NLE_UQ)",
        COUNT,
    ),
    Fault(
        "greater-or-equal-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "_mm512_set1_ps(threshold), _CMP_GT_OQ",
        "_mm512_set1_ps(threshold), _CMP_GE_OQ",
        COUNT,
        build="emulated",
    ),
    Fault(
        "last-row-of-an-odd-number-lost",
        "csrc/cpu/geometry.cpp",
        "row < end; row += kRowPair",
        "row + 1 < end; row += kRowPair",
        COUNT,
    ),
    Fault(
        "negative-non-finite-overlooked-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "reaches_nonfinite(_mm256_max_epi32(largest_, negative(most_, most)))",
        "reaches_nonfinite(largest_)",
        COUNT,
    ),
    Fault(
        "positive-non-finite-overlooked-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "std::min(bits, kNonfinite - 1)",
        "bits",
        COUNT,
    ),
    Fault(
        "last-values-not-looked-at-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "std::min(begin + look * kLook, size - kLook)",
        "begin + (look - (begin + look * kLook + kLook > size)) * kLook",
        COUNT,
    ),
    Fault(
        "lower-row-of-a-pair-lost-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "_mm512_set1_ps(threshold), _CMP_GT_OQ);",
        "_mm512_set1_ps(threshold), _CMP_GT_OQ) & 0xff;",
        COUNT,
        build="emulated",
    ),
    Fault(
        "threshold-of-another-unit",
        "csrc/core/words.hpp",
        "thresholds[level * threshold_stride]",
        "thresholds[level]",
        COUNT,
    ),
    Fault(
        "lists-of-levels-overlap",
        "csrc/core/words.hpp",
        "found + level * (places + kAppendSlack)",
        "found + level * places",
        COUNT,
    ),
    # --- which values are hot
    Fault(
        "highest-level-scanned",
        "csrc/cpu/backend.cpp",
        "std::fmin(lowest[i % acts.units], thresholds[i])",
        "std::fmax(lowest[i % acts.units], thresholds[i])",
        COUNT,
    ),
    Fault(
        "nan-is-the-lowest-level",
        "csrc/cpu/backend.cpp",
        "std::fmin(lowest[i % acts.units], thresholds[i])",
        "std::min(lowest[i % acts.units], thresholds[i])",
        "tests/test_op.py",
    ),
    Fault(
        "counts-without-all-memory",
        "csrc/cpu/backend.cpp",
        "if (failure) std::rethrow_exception(failure);",
        "",
        TALLY,
    ),
    Fault(
        "cut-rounded-up",
        "csrc/core/floats.hpp",
        "-(order + !exact) : order);",
        "-(order + !exact) : order + !exact);",
        COUNT,
    ),
    Fault("negative-cut-rounded-up", "csrc/core/floats.hpp", "-(order + !exact) : order);", "-order : order);", COUNT),
    Fault("negative-cut-off-by-one", "csrc/core/maps.hpp", "order - (order < 0)", "order", COUNT),
    Fault(
        "negative-halves-misordered-portable",
        "csrc/cpu/isa_portable.hpp",
        "HalfCut::key_of(map[begin + i])",
        "static_cast<int16_t>(map[begin + i])",
        COUNT,
    ),
    Fault(
        "negative-halves-misordered-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "if (cut.negative) return find_above<true>(",
        "if (cut.negative) return find_above<false>(",
        COUNT,
    ),
    Fault(
        "lanes-out-of-order-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "_mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)",
        "_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)",
        COUNT,
    ),
    Fault("lanes-of-halves-out-of-order-avx2", "csrc/cpu/isa_avx2.hpp", "packed, 0xd8", "packed, 0xe4", COUNT),
    Fault(
        "last-values-in-the-wrong-place-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "(map + end - 32, cut, largest) >> (32 - (end - begin))",
        "(map + end - 32, cut, largest)",
        COUNT,
    ),
    Fault("last-unit-dropped-avx2", "csrc/cpu/isa_avx2.hpp", "((1u << last_) - 1)", "((1u << (last_ - 1)) - 1)", COUNT),
    Fault(
        "last-unit-dropped-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "std::min(size - begin, 32)",
        "std::min(size - begin, 31)",
        COUNT,
        build="emulated",
    ),
    Fault(
        "last-value-dropped-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "if (begin < size) append_hot",
        "if (begin + 1 < size) append_hot",
        COUNT,
        build="emulated",
    ),
    Fault(
        "last-hot-value-of-an-entry-dropped",
        "csrc/core/words.hpp",
        "const bool done = bits == 0;",
        "const bool done = (bits & (bits - 1)) == 0;",
        COUNT,
    ),
    Fault("units-not-transposed-portable", "csrc/cpu/isa_portable.hpp", "rows[i | width] ^= swap;", "", COUNT),
    Fault(
        "units-transposed-in-another-order", "csrc/cpu/isa_x86.hpp", "rows[8 * k + j] =", "rows[8 * k + 7 - j] =", COUNT
    ),
    # --- which words are looked at, and where they read
    Fault(
        "readers-of-the-row-above-dropped",
        "csrc/cpu/geometry.cpp",
        "first_pair[std::max(y - 1, 0)] + group",
        "first_pair[y] + group",
        COUNT,
    ),
    Fault(
        "readers-of-the-row-above-taken-for-those-below",
        "csrc/cpu/geometry.cpp",
        "pairs_[first + i].row < y",
        "pairs_[first + i].row > y",
        COUNT,
    ),
    Fault(
        "last-readers-dropped", "csrc/cpu/geometry.cpp", "(most + kReaders - 1) / kReaders", "most / kReaders", COUNT
    ),
    Fault(
        "readers-on-a-pair-s-second-row-dropped-portable",
        "csrc/cpu/isa_portable.hpp",
        "for (const auto& fractions : readers.fractions) {",
        "for (const auto& fractions : {readers.fractions[0]}) {",
        COUNT,
    ),
    Fault(
        "marks-beyond-32-pairs-lost-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "static_cast<__mmask32>(pairs >> 32)",
        "static_cast<__mmask32>(pairs)",
        COUNT,
        build="emulated",
    ),
    Fault("marks-beyond-16-pairs-lost-avx2", "csrc/cpu/isa_avx2.hpp", "0x0100 + 0x0202 * i", "0x0100", COUNT),
    Fault(
        "words-beyond-8-misplaced-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "touched >>= 8, first += 8",
        "touched >>= 8, first += 7",
        COUNT,
    ),
    Fault(
        "seventeen-words-taken-for-few",
        "csrc/core/count.hpp",
        "task.geometry.words <= kFewWords",
        "task.geometry.words <= kFewWords + 1",
        COUNT,
    ),
    Fault(
        "sixty-five-pairs-taken-for-few",
        "csrc/core/count.hpp",
        "task.geometry.pair_count <= kFewPairs",
        "task.geometry.pair_count <= kFewPairs + 1",
        COUNT,
    ),
    Fault(
        "readers-of-the-right-neighbour-dropped", "csrc/cpu/geometry.cpp", "x <= right; ++x", "x <= left; ++x", COUNT
    ),
    Fault(
        "readers-of-the-left-neighbour-dropped",
        "csrc/cpu/geometry.cpp",
        "for (int x = left; x",
        "for (int x = right; x",
        COUNT,
    ),
    Fault(
        "right-neighbour-is-itself", "csrc/cpu/geometry.cpp", "right = std::min(left + 1, w - 1)", "right = left", COUNT
    ),
    Fault(
        "next-row-is-itself", "csrc/cpu/geometry.cpp", "std::min<int64_t>(y + 1, h - 1) * view_.w", "y * view_.w", COUNT
    ),
    Fault(
        "next-row-is-itself-strided",
        "csrc/core/maps.hpp",
        "std::min<int64_t>(pair.row + 1, geometry.h - 1) * stride_y",
        "pair.row * stride_y",
        COUNT,
    ),
    Fault(
        "last-pixel-row-dropped",
        "csrc/cpu/geometry.cpp",
        "rows.index + rows.size, y)",
        "rows.index + rows.size - 1, y)",
        COUNT,
    ),
    Fault(
        "padding-rows-have-pixels", "csrc/cpu/geometry.cpp", "std::numeric_limits<float>::quiet_NaN()", "0.0f", COUNT
    ),
    Fault(
        "ninth-column-of-eight",
        "csrc/cpu/geometry.cpp",
        "right - word.first < kWord",
        "right - word.first <= kWord",
        COUNT,
    ),
    Fault(
        "row-of-a-place-off-by-one",
        "csrc/cpu/geometry.cpp",
        "(uint64_t{1} << 63) / w + 1",
        "(uint64_t{1} << 63) / w",
        COUNT,
    ),
    Fault(
        "words-beyond-64-dropped",
        "csrc/core/words.hpp",
        "marks.words[pair * masks + word / 64]",
        "marks.words[pair * masks]",
        COUNT,
    ),
    Fault(
        "pairs-beyond-64-dropped",
        "csrc/core/words.hpp",
        "marks.live_pairs[pair / 64] |=",
        "marks.live_pairs[0] |=",
        COUNT,
    ),
    # --- reading maps
    Fault("rows-taken-as-contiguous", "csrc/core/count.hpp", " && (acts.stride_y == w || h == 1)", "", COUNT),
    Fault(
        "rows-taken-as-contiguous-in-thresholds",
        "csrc/core/select.hpp",
        " && (acts.stride_y == acts.w || acts.h == 1)",
        "",
        THRESHOLDS,
    ),
    Fault(
        "strides-swapped",
        "csrc/core/maps.hpp",
        "top = values + pair.row * stride_y + word.first * stride_x;",
        "top = values + pair.row * stride_x + word.first * stride_y;",
        COUNT,
    ),
    Fault(
        "right-neighbours-not-gathered",
        "csrc/core/words.hpp",
        "std::min<int64_t>(spot.x + 1, geometry.w - 1)",
        "spot.x",
        COUNT,
    ),
    Fault("values-gathered-stay", "csrc/core/count.hpp", "around[spot.place] = float_of(kNan);", "", COUNT),
    Fault("subnormal-halves-doubled", "csrc/core/floats.hpp", "exponent = 1;", "exponent = 2;", COUNT),
    Fault(
        "axes-swapped",
        "pydissect/backends/cpu.py",
        "source[axis], output[axis], axis)",
        "source[axis], output[axis], 1 - axis)",
        COUNT,
    ),
    # --- subnormals and non-finite values
    Fault("subnormals-flushed", "csrc/cpu/denormals.hpp", "_mm_setcsr(saved_ & ~kFlush);", "", COUNT),
    Fault(
        "flushing-not-restored",
        "csrc/cpu/denormals.hpp",
        "~KeepDenormals() { _mm_setcsr(saved_); }",
        "~KeepDenormals() {}",
        COUNT,
    ),
    Fault("limit-is-infinity", "csrc/core/floats.hpp", "kNonfinite = 0x7e800000u", "kNonfinite = 0x7f800000u", COUNT),
    Fault("limit-of-halves-is-infinity", "csrc/core/floats.hpp", "0x7c00 : 0x7e80", "0x7c00 : 0x7f80", COUNT),
    Fault(
        "limit-itself-is-finite-portable",
        "csrc/cpu/isa_portable.hpp",
        "largest_ >= kNonfinite;",
        "largest_ > kNonfinite;",
        COUNT,
    ),
    Fault(
        "limit-itself-is-finite-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "static_cast<int>(kNonfinite) - 1)",
        "static_cast<int>(kNonfinite))",
        COUNT,
    ),
    Fault(
        "non-finite-not-looked-for",
        "csrc/core/count.hpp",
        "if (nonfinite) find_nonfinite",
        "if (!nonfinite) find_nonfinite",
        COUNT,
    ),
    Fault(
        "non-finite-is-zero",
        "csrc/core/count.hpp",
        "workspace.finite[place] = float_of(kNan);",
        "workspace.finite[place] = 0.0f;",
        COUNT,
    ),
    Fault(
        "last-non-finite-named",
        "csrc/core/count.hpp",
        "std::min(counters.first_nonfinite, n * task.acts.units + u);",
        "n * task.acts.units + u;",
        COUNT,
    ),
    Fault("infinite-values-selected", "csrc/core/select.hpp", "if (is_nonfinite(value)) continue;", "", THRESHOLDS),
    Fault("image-of-the-batch-named", "pydissect/nonfinite.py", "place + first_image * units", "place", THRESHOLDS),
    # --- sifting, and what is kept of one pass
    Fault(
        "neighbours-below-forgotten", "csrc/core/sift.hpp", "row < std::min(y + 2, h)", "row < std::min(y + 1, h)", SIFT
    ),
    Fault("neighbour-to-the-left-forgotten", "csrc/core/sift.hpp", "left = x - (x > 0)", "left = x", SIFT),
    Fault(
        "neighbour-beyond-the-word-forgotten",
        "csrc/core/sift.hpp",
        "of_map[first / 64 + 1] |= run >> 1 >> (63 - shift);",
        "",
        SIFT,
    ),
    Fault("equal-to-the-bound-kept", "csrc/core/sift.hpp", "!all && value > bound", "!all && value >= bound", SIFT),
    Fault("last-of-equal-peaks", "csrc/core/sift.hpp", "if (value > peak) {", "if (value >= peak) {", SIFT),
    Fault("kept-without-a-bound-forgotten", "csrc/core/sift.hpp", "if (all) wanted.add_map(u);", "", SIFT),
    Fault(
        "infinite-candidate-spreads",
        "csrc/core/sift.hpp",
        "value > bound[u] && !is_nonfinite(value)",
        "value > bound[u]",
        SIFT,
    ),
    Fault(
        "candidates-place-swapped",
        "csrc/core/sift.hpp",
        "map[y * acts.stride_y + (place - y * wanted.w) * acts.stride_x]",
        "map[y * acts.stride_x + (place - y * wanted.w) * acts.stride_y]",
        SIFT,
    ),
    Fault("zero-for-no-candidate", "csrc/core/sift.hpp", "lowest_finite<kDtype>());", "{});", f"{SIFT} {ONE_PASS}"),
    Fault(
        "bound-off-by-one",
        "pydissect/thresholds.py",
        "self._selection.keep - 1]",
        "self._selection.keep - 2]",
        ONE_PASS,
    ),
    Fault(
        "limit-taken-for-the-number",
        "pydissect/one_pass.py",
        "self.finder.shorten(self.finder.seen)",
        "self.finder.shorten(self.finder.n_values)",
        ONE_PASS,
    ),
    Fault(
        "later-image-ranks-first",
        "pydissect/top_images.py",
        "images.argsort(dim=1,",
        "(-images).argsort(dim=1,",
        ONE_PASS,
    ),
    Fault(
        "spilled-batches-read-from-the-start",
        "pydissect/candidate_store.py",
        "self._file.seek(entry.position)",
        "self._file.seek(0)",
        ONE_PASS,
    ),
    # --- counting
    Fault("byte-counter-overflows", "csrc/core/count.hpp", "kMaxPairs = 15;", "kMaxPairs = 16;", COUNT),
    Fault("sums-set-anew", "csrc/core/count.hpp", "count_bits<true>", "count_bits<false>", COUNT),
    Fault(
        "32-bit-counter-overflows",
        "csrc/core/count.hpp",
        "counters.unit_area_all[row] += area;",
        "counters.unit_area_all[row] = static_cast<int32_t>(counters.unit_area_all[row] + area);",
        COUNT,
    ),
    Fault(
        "last-words-of-masks-dropped",
        "csrc/core/count.hpp",
        "for (; place < places; ++place) {",
        "for (; place < places - 1; ++place) {",
        COUNT,
    ),
    Fault(
        "masks-in-the-neighbour's-lane",
        "csrc/core/count.hpp",
        "table[place * kMaskBlock + i] = rows[i][place];",
        "table[place * kMaskBlock + (i + 1) % kMaskBlock] = rows[i][place];",
        COUNT,
    ),
    Fault(
        "masks-in-the-neighbour's-lane-avx2",
        "csrc/cpu/isa_x86.hpp",
        "rows[16 + i] + place",
        "rows[15 + i] + place",
        COUNT,
    ),
    Fault(
        "no-lane-for-the-area",
        "csrc/core/count.hpp",
        "blocks = count / kMaskBlock + 1;",
        "blocks = (count + kMaskBlock - 1) / kMaskBlock;",
        COUNT,
    ),
    Fault(
        "padding-pixels-counted",
        "csrc/cpu/geometry.cpp",
        "std::clamp(columns.size - static_cast<int>(place % view_.row_bytes) * kWord, 0, kWord);",
        "kWord;",
        COUNT,
    ),
    Fault(
        "padding-pixels-of-another-row",
        "csrc/cpu/geometry.cpp",
        "i < kWord; ++i) {\n      word.left[kWord + i]",
        "i < count; ++i) {\n      word.left[kWord + i]",
        COUNT,
        build="emulated",
    ),
    Fault(
        "whole-image-labels-dropped",
        "csrc/core/count.hpp",
        "[masks.whole_concepts[j]] += area;",
        "[masks.whole_concepts[j]] += 0;",
        COUNT,
    ),
    Fault(
        "area-of-all-images",
        "csrc/core/count.hpp",
        "masks.annotated[n * masks.categories + k] * area;",
        "area;",
        COUNT,
    ),
    # --- threads
    Fault(
        "threads-skip-a-unit",
        "csrc/cpu/backend.cpp",
        "share(acts.units, unit_parts, unit_part + 1)}",
        "share(acts.units, unit_parts, unit_part + 1) - (unit_part > 0)}",
        COUNT,
    ),
    Fault(
        "threads-skip-an-image",
        "csrc/cpu/backend.cpp",
        "share(acts.images, image_parts, image_part)",
        "share(acts.images, image_parts, image_part) + (image_part > 0)",
        COUNT,
    ),
    Fault(
        "a-thread's-areas-forgotten",
        "csrc/cpu/backend.cpp",
        "counters.unit_area_all[i] += target.unit_area_all[i];",
        "",
        COUNT,
    ),
    Fault(
        "first-part-added-twice",
        "csrc/cpu/backend.cpp",
        "if (target.intersection == counters.intersection) continue;",
        "",
        COUNT,
    ),
    Fault(
        "threads-select-a-unit-twice",
        "csrc/cpu/backend.cpp",
        "share(acts.units, parts, i + 1)}",
        "std::min(share(acts.units, parts, i + 1) + 1, acts.units)}",
        THRESHOLDS,
    ),
    # --- thresholds
    Fault("search-off-by-one", "csrc/core/select.hpp", "rise = above > most;", "rise = above >= most;", THRESHOLDS),
    Fault(
        "level-below-the-ties",
        "csrc/core/select.hpp",
        "return {value_at(high), above_high};",
        "return {value_at(low), above_high};",
        THRESHOLDS,
    ),
    Fault(
        "greater-or-equal-in-the-search-portable",
        "csrc/cpu/isa_portable.hpp",
        "above += values[i] > bound;",
        "above += values[i] >= bound;",
        THRESHOLDS,
    ),
    Fault(
        "greater-or-equal-in-the-search-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "_mm256_loadu_ps(values + i + 8 * j), level, _CMP_GT_OQ",
        "_mm256_loadu_ps(values + i + 8 * j), level, _CMP_GE_OQ",
        THRESHOLDS,
    ),
    Fault(
        "bound-too-high",
        "csrc/core/select.hpp",
        "selection.bound[u] = cut.level;",
        "selection.bound[u] = values[0];",
        THRESHOLDS,
    ),
    Fault(
        "one-tie-too-few-kept",
        "csrc/core/select.hpp",
        "for (; kept < keep; ++kept)",
        "for (; kept < keep - 1; ++kept)",
        THRESHOLDS,
    ),
    Fault(
        "too-few-values-have-a-rank",
        "csrc/core/select.hpp",
        "if (fill <= k) return",
        "if (fill < k) return",
        THRESHOLDS,
    ),
    Fault(
        "negative-values-misordered-in-the-search",
        "csrc/core/floats.hpp",
        "return bits < 0 ? bits ^ static_cast<int32_t>(kMagnitude) : bits;",
        "return bits;",
        THRESHOLDS,
    ),
    Fault(
        "zeros-after-the-last-values-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "finite_above(part, level) & ((1u << left) - 1);",
        "finite_above(part, level);",
        THRESHOLDS,
    ),
    Fault(
        "last-halves-twice-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "valid = 0xffff & ~(0xffffu >> left);",
        "valid = 0xffff;",
        THRESHOLDS,
    ),
    Fault(
        "last-values-not-counted-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "for (; i < count; ++i) above += values[i] > bound;",
        "",
        THRESHOLDS,
    ),
    Fault(
        "last-values-dropped-in-thresholds-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "valid_low = first_sixteen(count - i);",
        "valid_low = first_sixteen(count - i - 1);",
        THRESHOLDS,
        build="emulated",
    ),
    Fault(
        "one-too-few-kept",
        "pydissect/thresholds.py",
        "keep = max(self._ranks) + 1",
        "keep = max(self._ranks)",
        THRESHOLDS,
    ),
    Fault(
        "rank-off-by-one",
        "pydissect/backends/cpu.py",
        "ranks=list(ranks)",
        "ranks=[max(k - 1, 0) for k in ranks]",
        THRESHOLDS,
    ),
    Fault(
        "rank-in-floating-point",
        "pydissect/reference.py",
        "int(Fraction(str(quantile)) * n_values)",
        "int(float(Fraction(str(quantile))) * n_values)",
        THRESHOLDS,
    ),
    Fault(
        "negative-zero-kept",
        "pydissect/thresholds.py",
        "torch.where(bits == _NEGATIVE_ZERO, 0, bits)",
        "bits",
        THRESHOLDS,
    ),
    Fault("negative-values-misordered", "pydissect/largest.py", "bits ^ 0x7FFFFFFF", "bits", THRESHOLDS),
    Fault(
        "merged-finder-forgets",
        "pydissect/thresholds.py",
        "torch.cat([_held(mine), _held(theirs)",
        "torch.cat([_held(theirs)",
        THRESHOLDS,
    ),
    Fault(
        "merged-finder-numbers-images-anew",
        "pydissect/thresholds.py",
        "self._images += other._images",
        "pass",
        THRESHOLDS,
    ),
    # --- sampling grids
    Fault("half-pixel-forgotten", "pydissect/grids.py", "(2 * i + 1) * source - output", "2 * i * source", GRIDS),
    Fault("corners-not-aligned", "pydissect/grids.py", "max(output - 1, 1)", "output", GRIDS),
    Fault(
        "fraction-reaches-one", "pydissect/grids.py", "_LARGEST_FRACTION = 1 - 2**-22", "_LARGEST_FRACTION = 1.0", GRIDS
    ),
    Fault(
        "beyond-the-last-value", "pydissect/grids.py", "last = index >= source - 1", "last = index > source - 1", GRIDS
    ),
    Fault(
        "field-off-by-half-a-pixel",
        "pydissect/grids.py",
        "(i + 0.5) * image / output - 0.5",
        "i * image / output",
        GRIDS,
    ),
    # --- masks
    Fault("label-0-counted", "pydissect/mask_cache.py", "lookup[0] = IGNORED", "lookup[0] = 0", CACHE),
    Fault(
        "ignored-label-is-unknown",
        "csrc/core/pack.hpp",
        "if (vocabulary.has_ignored && number == static_cast<uint64_t>(vocabulary.ignored)) return kIgnored;",
        "",
        f"{PACKING} {MASKS}",
    ),
    Fault(
        "label-past-the-last-known",
        "csrc/core/pack.hpp",
        "if (place >= static_cast<uint64_t>(vocabulary.count))",
        "if (place > static_cast<uint64_t>(vocabulary.count))",
        PACKING,
    ),
    Fault("labels-shifted", "pydissect/masks.py", "first = 1 if ignore_index == 0 else 0", "first = 0", MASKS),
    Fault("last-label-only", "csrc/core/pack.hpp", "after = before | bits;", "after = bits;", PACKING),
    Fault(
        "last-label-only-at-the-end-of-a-row", "csrc/core/pack.hpp", "words[i] |= word;", "words[i] = word;", PACKING
    ),
    Fault(
        "label-in-two-layers-counts-twice",
        "csrc/core/pack.hpp",
        "return __builtin_popcountll(bits & ~before);",
        "return __builtin_popcountll(bits);",
        PACKING,
    ),
    Fault(
        "next-row-in-the-last-word",
        "csrc/core/pack.hpp",
        "~Isa::equal(chunk, uint8_t{0}) & first_bits<Isa>(count);",
        "~Isa::equal(chunk, uint8_t{0});",
        PACKING,
    ),
    Fault("concepts-innermost-not-transposed", "csrc/core/pack.hpp", "rows[r + half] ^= changed;", "", PACKING),
    Fault("equal-is-greater-avx2", "csrc/cpu/isa_avx2.hpp", "_mm256_cmpeq_epi8(", "_mm256_cmpgt_epi8(", PACKING),
    Fault(
        "single-pixels-dropped",
        "csrc/cpu/pack.cpp",
        "if (sheet.pixels[slot] == 0 ||",
        "if (sheet.pixels[slot] <= 1 ||",
        PACKING,
    ),
    Fault(
        "full-masks-not-whole",
        "csrc/cpu/pack.cpp",
        "== static_cast<int64_t>(size.H) * size.W",
        "> static_cast<int64_t>(size.H) * size.W",
        PACKING,
    ),
    Fault(
        "concepts-fall",
        "csrc/cpu/pack.cpp",
        "return concepts[a] < concepts[b];",
        "return concepts[a] > concepts[b];",
        PACKING,
    ),
    Fault("end-of-a-row-not-unpacked", "csrc/cpu/pack.cpp", "std::memcpy(out + x, &eight, size.W - x);", "", MASKS),
    Fault(
        "whole-labels-annotate-nothing",
        "pydissect/packing.py",
        "((bitmap_offsets, concepts), (whole_offsets, whole))",
        "((bitmap_offsets, concepts),)",
        PACKING,
    ),
    Fault(
        "whole-labels-of-the-first-images",
        "pydissect/masks.py",
        "whole_ranges=self.whole_ranges[images]",
        "whole_ranges=self.whole_ranges",
        MASKS,
    ),
    Fault("whole-images-have-no-area", "pydissect/masks.py", "self.size[0] * self.size[1], dtype", "0, dtype", MASKS),
    # --- categories, counts and scores
    Fault(
        "categories-sorted",
        "pydissect/categories.py",
        "tuple(dict.fromkeys(names))",
        "tuple(sorted(set(names)))",
        CATEGORIES,
    ),
    Fault("plain-masks-annotated-nowhere", "pydissect/categories.py", "everywhere=True)", "everywhere=False)", COUNT),
    Fault(
        "union-of-the-other-kind",
        "pydissect/counts.py",
        'if check_union(union) == "category":',
        'if check_union(union) == "all":',
        COUNTS,
    ),
    Fault(
        "union-counts-both-twice",
        "pydissect/reference.py",
        "unit_area + concept_area - intersection",
        "unit_area + concept_area",
        COUNTS,
    ),
    Fault(
        "ties-go-to-the-higher-concept",
        "pydissect/counts.py",
        "places, iou.shape[-1]).amin(-1)",
        "places, -1).amax(-1)",
        SCORES,
    ),
    Fault(
        "no-overlap-is-a-label",
        "pydissect/counts.py",
        "torch.where(largest > 0, first, -1)",
        "torch.where(largest >= 0, first, -1)",
        SCORES,
    ),
    Fault(
        "ties-go-to-the-first-category",
        "pydissect/scores.py",
        "torch.where(candidates, category_concept, beyond).amin(1)",
        "category_concept.gather(1, candidates.int().argmax(1, keepdim=True))[:, 0]",
        SCORES,
    ),
    Fault(
        "detector-at-the-threshold",
        "pydissect/scores.py",
        "detector = labels.iou > iou_threshold",
        "detector = labels.iou >= iou_threshold",
        SCORES,
    ),
    Fault(
        "unique-detector-at-the-threshold",
        "pydissect/scores.py",
        "[:, k] > iou_threshold",
        "[:, k] >= iou_threshold",
        SCORES,
    ),
    Fault(
        "sum-of-counts-is-the-first",
        "pydissect/counts.py",
        "getattr(self, name) + getattr(other, name).to(device)",
        "getattr(self, name)",
        COUNTS,
    ),
    Fault("merged-tally-numbers-images-anew", "pydissect/tally.py", "self._images += other._images", "pass", TALLY),
    Fault(
        "concept-area-of-one-image",
        "csrc/cpu/backend.cpp",
        "add_concept_area(masks, acts.images,",
        "add_concept_area(masks, 1,",
        COUNT,
    ),
    # --- what only the disassembly and the sanitizers see
    Fault(
        "shared-template",
        "csrc/core/select.hpp",
        "selection.bound[u] = cut.level;",
        "selection.bound[u] = cut.level, std::sort(values, values + kept);",
        DISASSEMBLY,
        build="",
    ),
    Fault(
        "reads-beyond-a-tensor",
        "csrc/core/count.hpp",
        "values + size + kWord <= end",
        "values + size <= end",
        NAMED_CASES,
        build="sanitized",
        says="ERROR: AddressSanitizer",
    ),
    Fault(
        "reads-beyond-a-tensor-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "_mm512_maskz_loadu_ps(high_lanes, values + 16)",
        "_mm512_loadu_ps(values + 16)",
        NAMED_CASES,
        build="sanitized",
        says="ERROR: AddressSanitizer",
    ),
    Fault(
        "reads-beyond-label-maps",
        "csrc/core/pack.hpp",
        "if (readable >= kChunk) return source;",
        "if (readable >= count) return source;",
        PACKING,
        build="sanitized",
        says="ERROR: AddressSanitizer",
    ),
    Fault(
        "workspace-too-small",
        "csrc/cpu/backend.cpp",
        "geometry.words + kAppendSlack);",
        "geometry.words);",
        NAMED_CASES,
        build="sanitized",
        says="ERROR: AddressSanitizer",
    ),
    Fault(
        "shift-by-64",
        "csrc/core/pack.hpp",
        "return count >= 64 ?",
        "return count > 64 ?",
        PACKING,
        build="sanitized",
        says="runtime error: shift exponent 64",
    ),
    # --- the CUDA kernels, run on the host
    Fault(
        "cuda-strictly-greater",
        "csrc/cuda/cells.cuh",
        "(values.at(fractions[turn - 1]) > level)",
        "(values.at(fractions[turn - 1]) >= level)",
        CUDA_HOST,
    ),
    Fault(
        "cuda-search-short-of-the-last-pixel",
        "csrc/cuda/cells.cuh",
        "(turn <= count) & (",
        "(turn < count) & (",
        CUDA_HOST,
    ),
    Fault(
        "cuda-rows-that-rise-as-if-they-fell",
        "csrc/cuda/cells.cuh",
        "Above above = {0, values.difference >= 0};",
        "Above above = {0, false};",
        CUDA_HOST,
    ),
    Fault(
        "cuda-row-below-unread",
        "csrc/cuda/cells.cuh",
        "words[0] | shift_down(below[0], below[1], w % 32)",
        "words[0]",
        CUDA_HOST,
    ),
    Fault(
        "cuda-column-to-the-right-unread",
        "csrc/cuda/cells.cuh",
        "return columns | shift_down(columns, next_columns, 1);",
        "return columns;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-next-word-of-hot-bits-unread",
        "csrc/cuda/cells.cuh",
        "shift_down(columns, next_columns, 1)",
        "columns >> 1",
        CUDA_HOST,
    ),
    Fault(
        "cuda-listed-cells-of-the-last-piece-alone",
        "csrc/cuda/cells.cuh",
        "int i = count + before[lane];",
        "int i = before[lane];",
        CUDA_HOST,
    ),
    Fault(
        "cuda-first-level-alone",
        "csrc/cuda/cells.cuh",
        "if (piece >= pieces * arguments.levels) break;",
        "if (piece >= pieces) break;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-cells-of-the-next-band",
        "csrc/cuda/cells.cuh",
        "if (unit >= share.units || y >= share.bottom)",
        "if (unit >= share.units)",
        CUDA_HOST,
    ),
    Fault(
        "cuda-infinite-corner",
        "csrc/cuda/cells.cuh",
        "return is_nonfinite(value) ? float_of(kNan) : value;",
        "return value;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-left-side-alone",
        "csrc/cuda/cells.cuh",
        "    bisect_side(right_side, threshold, cell);\n",
        "",
        CUDA_HOST,
    ),
    Fault(
        "cuda-runs-across-a-gap",
        "csrc/cuda/cells.cuh",
        "mine.places[lane - 1] + 1 == mine.places[lane] &&",
        "true &&",
        CUDA_HOST,
    ),
    Fault(
        "cuda-runs-across-source-rows",
        "csrc/cuda/cells.cuh",
        "cells[lane].x > 0 &&",
        "true &&",
        CUDA_HOST,
    ),
    Fault(
        "cuda-rows-of-the-first-cell",
        "csrc/cuda/cells.cuh",
        "      raise_to(mine.runs[number].upper, cells[lane].upper);",
        "      if (heads >> lane & 1) raise_to(mine.runs[number].upper, cells[lane].upper);",
        CUDA_HOST,
    ),
    Fault(
        "cuda-rows-between-not-skipped",
        "csrc/cuda/cells.cuh",
        "(rows < run.upper ? 0 : run.gap)",
        "0",
        CUDA_HOST,
    ),
    Fault(
        "cuda-rows-that-begin-within-a-word",
        "csrc/cuda/cells.cuh",
        "arguments.tables.row_bits % 32 != 0 && further > words",
        "false",
        CUDA_HOST,
    ),
    Fault(
        "cuda-second-word-one-bit-off",
        "csrc/cuda/cells.cuh",
        "bits_from(begin - 32) &",
        "bits_from(begin - 31) &",
        CUDA_HOST,
    ),
    Fault(
        "cuda-wide-cells-first-window-alone",
        "csrc/cuda/cells.cuh",
        "rows -= run.rows) ++window;",
        "rows -= run.rows) {}",
        CUDA_HOST,
    ),
    Fault(
        "cuda-full-list-overrun",
        "csrc/cuda/cells.cuh",
        "if (listed + more > kListed) count_listed();",
        "",
        CUDA_HOST,
    ),
    Fault(
        "cuda-highest-level-for-lowest",
        "csrc/cuda/count.cuh",
        "lowest = fminf(lowest, levels[level * units]);",
        "lowest = fmaxf(lowest, levels[level * units]);",
        CUDA_HOST,
    ),
    Fault(
        "cuda-half-a-mask-word",
        "csrc/cuda/count.cuh",
        "return halves[0] | high << 16;",
        "return halves[0];",
        CUDA_HOST,
    ),
    Fault(
        "cuda-staged-side-by-side",
        "csrc/cuda/count.cuh",
        "memory.masks() + mask * split.mask_stride + lane",
        "memory.masks() + mask * size + lane",
        CUDA_HOST,
    ),
    Fault(
        "cuda-staged-from-any-address",
        "csrc/cuda/count.cuh",
        "split.mask_halves % 2 == 0 && reinterpret",
        "reinterpret",
        CUDA_HOST,
    ),
    Fault(
        "cuda-band-without-the-next-row",
        "csrc/cuda/count.cuh",
        "share.bottom - share.top + (share.bottom < arguments.acts.h);",
        "share.bottom - share.top;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-concept-area-of-each-group",
        "csrc/cuda/count.cuh",
        "if (share.first_unit == 0 && share.top == 0) add",
        "if (share.top == 0) add",
        CUDA_HOST,
    ),
    Fault(
        "cuda-level-of-the-unit-before",
        "csrc/cuda/scan.cuh",
        "(bits & mine) | (piece.above(lowest[unit + 1]) & ~mine)",
        "bits",
        CUDA_HOST,
    ),
    Fault(
        "cuda-loads-at-any-address",
        "csrc/cuda/scan.cuh",
        "const int first = number * kValues - skew;",
        "const int first = number * kValues;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-bits-from-the-first-on",
        "csrc/cuda/scan.cuh",
        "kOrder == Order::values ? skew_of<kDtype>(arguments, first_value(arguments, share)) : 0",
        "0",
        CUDA_HOST,
    ),
    Fault(
        "cuda-unstaged-masks-of-the-first-image",
        "csrc/cuda/tally.cuh",
        "const int64_t bitmap = arguments.masks.bitmap_ranges[2 * share.n] + number;",
        "const int64_t bitmap = number;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-annotated-everywhere",
        "csrc/cuda/tally.cuh",
        "annotated ? sums.unit_area + number : nullptr",
        "sums.unit_area + number",
        CUDA_HOST,
    ),
    Fault(
        "cuda-whole-concepts-of-the-first-image",
        "csrc/cuda/tally.cuh",
        "masks.whole_concepts[masks.whole_ranges[2 * share.n] + number]",
        "masks.whole_concepts[number]",
        CUDA_HOST,
    ),
    Fault(
        "cuda-whole-concept-as-a-pixel",
        "csrc/cuda/tally.cuh",
        "concepts, kFull, 0}",
        "concepts, kFull, 1}",
        CUDA_HOST,
    ),
    Fault(
        "cuda-first-targets-alone",
        "csrc/cuda/tally.cuh",
        "for (int i = kLanes + lane; i < targets; i += kLanes) add",
        "for (int i = kLanes + lane; false; i += kLanes) add",
        CUDA_HOST,
    ),
    Fault(
        "cuda-words-of-the-next-unit",
        "csrc/cuda/tally.cuh",
        "mine.word_sums[begin + lane] != sum",
        "false",
        CUDA_HOST,
    ),
    Fault(
        "cuda-non-finite-in-the-last-word-alone",
        "csrc/cuda/format.cuh",
        "lifted |= (wide.words[i] & kMagnitudes) + kLift;",
        "lifted = (wide.words[i] & kMagnitudes) + kLift;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-non-finite-in-the-first-halves-alone",
        "csrc/cuda/format.cuh",
        "largest_halves(first.words[i], second.words[i])",
        "first.words[i]",
        CUDA_HOST,
    ),
    Fault(
        "cuda-level-rounded-up-to-a-half",
        "csrc/cuda/format.cuh",
        "return order < 0 ? 0x8000u - order : order;",
        "return order < 0 ? 0x7fffu - order : order;",
        CUDA_HOST,
    ),
    Fault(
        "cuda-quotient-rounded-down",
        "csrc/cuda/divisor.hpp",
        "(power + divisor - 1) / divisor",
        "power / divisor",
        CUDA_HOST,
    ),
    Fault(
        "cuda-search-too-short",
        "pydissect/backends/cuda_launch.py",
        ".max()).bit_length() - 1)",
        ".max()).bit_length() - 2)",
        CUDA_HOST,
    ),
    Fault(
        "cuda-select-ties-of-the-level-kept-twice",
        "csrc/cuda/select.cuh",
        "if (key_of(read[thread][i]) > level)",
        "if (key_of(read[thread][i]) >= level)",
        CUDA_SELECT,
    ),
    Fault(
        "cuda-select-higher-digits-not-counted",
        "csrc/cuda/select.cuh",
        "wanted -= memory.higher;",
        "",
        CUDA_SELECT,
    ),
    Fault(
        "cuda-select-other-digits-counted",
        "csrc/cuda/select.cuh",
        "if ((key ^ level) >> shift >> kDigitBits == 0) add_one",
        "add_one",
        CUDA_SELECT,
    ),
    Fault(
        "cuda-select-place-beyond-the-buffer",
        "csrc/cuda/select.cuh",
        "if (place < arguments.capacity) {",
        "if (place <= arguments.capacity) {",
        CUDA_SELECT,
    ),
    Fault(
        "cuda-select-non-finite-kept",
        "csrc/cuda/select.cuh",
        "      read.waiting &= ~bit;\n    }\n  }\n\n  // Drops",
        "    }\n  }\n\n  // Drops",
        CUDA_SELECT,
    ),
    Fault(
        "cuda-select-loads-at-any-address",
        "csrc/cuda/select.cuh",
        "const int first = number * kWide - skew,",
        "const int first = number * kWide,",
        CUDA_SELECT,
    ),
    Fault(
        "cuda-select-waiting-values-lost",
        "csrc/cuda/select.cuh",
        "    while (full) {",
        "    if (full) {",
        CUDA_SELECT,
    ),
    # --- the Triton kernels, in the interpreter
    Fault(
        "triton-greater-or-equal",
        "kernels/count.py",
        "on = value > tl.load(",
        "on = value >= tl.load(",
        TRITON,
    ),
    Fault(
        "triton-row-below-unread",
        "kernels/scan.py",
        "    live |= tl.gather(live, below, 1)\n",
        "",
        TRITON,
    ),
    Fault(
        "triton-area-without-the-last-pixel",
        "kernels/count.py",
        "area = tl.sum(popcount(bits), 1)",
        "area = tl.sum(popcount(bits & 0x7FFFFFFF), 1)",
        TRITON,
    ),
    Fault(
        "triton-popcount-mask",
        "kernels/bits.py",
        "(x + (x >> 4)) & 0x0F0F0F0F",
        "(x + (x >> 4)) & 0x07070707",
        TRITON,
    ),
    Fault(
        "triton-half-a-mask-word",
        "kernels/count.py",
        "bits[:, None] & (low | (high << 16))",
        "bits[:, None] & low",
        TRITON,
    ),
    Fault(
        "triton-prune-one-rank-off",
        "kernels/select.py",
        "tl.where(tl.arange(0, DIGITS) > found, counts, 0)",
        "tl.where(tl.arange(0, DIGITS) >= found, counts, 0)",
        TRITON,
    ),
    Fault(
        "triton-what-is-kept-stays-where-it-is",
        "kernels/select.py",
        "tl.store(values + kept + tl.cumsum(above, 0) - 1, value,",
        "tl.store(values + place, value,",
        TRITON,
    ),
    Fault(
        "triton-last-tie-overwritten",
        "kernels/select.py",
        "                                held = tl.where(local == i, keep, held)\n",
        "                                held = tl.where(local == i, keep - 1, held)\n",
        TRITON,
    ),
    # The CUDA kernels, compiled by nvcc; its tests build what they need.
    Fault(
        "cuda-fused-multiply-add",
        "csrc/core/lerp.hpp",
        "return __fmul_rn(a, b);",
        "return a * b;",
        f"{CUDA_BUILD}::test_nothing_is_fused_or_flushed",
    ),
]
