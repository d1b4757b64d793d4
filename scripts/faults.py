"""The faults that the tests must notice: one line each, in all that computes.

Not here, for nothing can tell: ``>=`` for ``>`` at the bound of a selection. A value equal to the bound is one of the
``keep`` largest or a tie of the smallest of them.
"""

from dataclasses import dataclass

COUNT = "tests/test_count.py"
THRESHOLDS = "tests/test_thresholds.py"
MASKS = "tests/test_masks.py"
PACKING = "tests/test_packing.py"
COUNTS = "tests/test_counts.py"
SCORES = "tests/test_scores.py"
GRIDS = "tests/test_grids.py"
TALLY = "tests/test_tally.py"
CATEGORIES = "tests/test_categories.py"
DISASSEMBLY = "tests/test_disassembly.py"


@dataclass(frozen=True)
class Fault:
    """One line of a file, and what it becomes.

    Attributes:
        name: for the report and ``--only``.
        file: from the root of the repository.
        snippet: stands in the file exactly once.
        replacement: of the snippet.
        tests: what must fail, as pytest takes it.
        build: of ``scripts/try_build.py``, where the plain one would not show it.
        says: what the failure must say, where others than the one meant are possible.
    """

    name: str
    file: str
    snippet: str
    replacement: str
    tests: str
    build: str = ""
    says: str = ""


FAULTS = [
    # --- interpolation and comparison
    Fault("fused-multiply-add", "setup.py", '"-ffp-contract=off"', '"-ffp-contract=fast", "-mfma"', COUNT),
    Fault("fused-multiply-add-avx512", "setup.py", '"-ffp-contract=off"', '"-ffp-contract=fast"', DISASSEMBLY),
    Fault(
        "columns-before-rows",
        "csrc/core/count.hpp",
        "lerp(lerp(top_left, bottom_left, ty), lerp(top_right, bottom_right, ty), tx)",
        "lerp(lerp(top_left, top_right, tx), lerp(bottom_left, bottom_right, tx), ty)",
        COUNT,
    ),
    Fault(
        "greater-or-equal-portable",
        "csrc/cpu/isa_portable.hpp",
        "(value > broadcast(threshold))",
        "(value >= broadcast(threshold))",
        COUNT,
    ),
    Fault("greater-or-equal-avx2", "csrc/cpu/isa_avx2.hpp", "_CMP_GT_OQ", "_CMP_GE_OQ", COUNT),
    Fault("nan-is-greater-avx2", "csrc/cpu/isa_avx2.hpp", "_CMP_GT_OQ", "_CMP_NLE_UQ", COUNT),
    Fault(
        "greater-or-equal-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "_mm512_set1_ps(threshold), _CMP_GT_OQ",
        "_mm512_set1_ps(threshold), _CMP_GE_OQ",
        COUNT,
        build="emulated",
    ),
    # --- which words and cells are looked at
    Fault("dropped-cells-below", "csrc/core/count.hpp", "either = above | below;", "either = below;", COUNT),
    Fault(
        "dropped-cells-right",
        "csrc/cpu/geometry.cpp",
        "first + right_[begin + count - 1]",
        "first + left_[begin + count - 1]",
        COUNT,
    ),
    Fault("rows-off-by-one", "csrc/cpu/geometry.cpp", "std::lower_bound(", "std::upper_bound(", COUNT),
    Fault(
        "right-neighbour-is-itself",
        "csrc/cpu/geometry.cpp",
        "columns.index[begin + i] + 1, w - 1",
        "columns.index[begin + i], w - 1",
        COUNT,
    ),
    Fault("last-word-not-masked", "csrc/core/count.hpp", " & geometry.lanes[word];", ";", COUNT),
    Fault(
        "last-values-not-masked-avx2",
        "csrc/cpu/isa_avx2.hpp",
        "valid = (1u << (count - i)) - 1;",
        "valid = 0xff;",
        THRESHOLDS,
    ),
    Fault(
        "last-values-dropped-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "const int left = size - begin - i;",
        "const int left = size - begin - i - 1;",
        COUNT,
        build="emulated",
    ),
    # --- reading maps
    Fault("rows-taken-as-contiguous", "csrc/core/maps.hpp", " && (acts.stride_y == acts.w || acts.h == 1)", "", COUNT),
    Fault(
        "strides-swapped",
        "csrc/core/maps.hpp",
        "y * acts.stride_y + x * acts.stride_x",
        "y * acts.stride_x + x * acts.stride_y",
        COUNT,
    ),
    Fault("subnormal-halves-doubled", "csrc/core/floats.hpp", "exponent = 1;", "exponent = 2;", COUNT),
    Fault(
        "axes-swapped",
        "pydissect/backends/cpu.py",
        "acts.shape[2], masks.size[0], 0)",
        "acts.shape[2], masks.size[0], 1)",
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
    Fault(
        "limit-itself-is-finite", "csrc/cpu/isa_portable.hpp", "largest >= kNonfinite", "largest > kNonfinite", COUNT
    ),
    Fault("non-finite-is-zero", "csrc/core/maps.hpp", "float_of(kNan) : map[i]", "0.0f : map[i]", COUNT),
    Fault(
        "last-non-finite-named",
        "csrc/core/count.hpp",
        "counters.first_nonfinite = std::min(counters.first_nonfinite, n * acts.units + u);",
        "counters.first_nonfinite = n * acts.units + u;",
        COUNT,
    ),
    Fault("image-of-the-batch-named", "pydissect/nonfinite.py", "place + first_image * units", "place", THRESHOLDS),
    # --- counting
    Fault("16-bit-counter-overflows", "csrc/core/count.hpp", "kMaxWords = 4095;", "kMaxWords = 1 << 20;", COUNT),
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
        "if (place < places) lay_out(place, static_cast<int>(places - place));",
        "",
        COUNT,
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
        "threads-select-a-unit-twice",
        "csrc/cpu/backend.cpp",
        "share(acts.units, parts, i + 1)}",
        "std::min(share(acts.units, parts, i + 1) + 1, acts.units)}",
        THRESHOLDS,
    ),
    # --- thresholds
    Fault("bound-too-high", "csrc/cpu/backend.cpp", "return values[keep - 1];", "return values[0];", THRESHOLDS),
    Fault(
        "one-too-few-kept",
        "csrc/core/select.hpp",
        "selection.fill[u] = selection.keep;",
        "selection.fill[u] = selection.keep - 1;",
        THRESHOLDS,
    ),
    Fault(
        "rank-off-by-one",
        "pydissect/thresholds.py",
        "largest[:, k] for k",
        "largest[:, max(k - 1, 0)] for k",
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
    Fault("negative-values-misordered", "pydissect/thresholds.py", "bits ^ 0x7FFFFFFF", "bits", THRESHOLDS),
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
    Fault("label-0-counted", "pydissect/masks.py", "lookup[0] = IGNORED", "lookup[0] = 0", MASKS),
    Fault("labels-shifted", "pydissect/masks.py", "first = 1 if ignore_index == 0 else 0", "first = 0", MASKS),
    Fault(
        "last-layer-only", "csrc/cpu/pack.cpp", "words + word] |= bits;", "words + word] = bits;", f"{PACKING} {MASKS}"
    ),
    Fault(
        "next-row-in-the-last-word",
        "csrc/cpu/pack.cpp",
        "length = std::min(W - begin, kWordBits);",
        "length = kWordBits;",
        MASKS,
    ),
    Fault(
        "single-pixels-dropped",
        "pydissect/packing.py",
        "keep = (pixels > 0)",
        "keep = (pixels > 1)",
        f"{PACKING} {MASKS}",
    ),
    Fault(
        "full-masks-not-whole",
        "pydissect/packing.py",
        "full = concepts[pixels == size",
        "full = concepts[pixels > size",
        f"{PACKING} {MASKS}",
    ),
    Fault(
        "whole-labels-annotate-nothing",
        "pydissect/packing.py",
        "result[of_concept[image.whole]] = 1",
        "result[of_concept[image.whole]] = 0",
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
        "pydissect/tally.py",
        "area = packed.concept_area()",
        "area = packed[:1].concept_area()",
        TALLY,
    ),
    # --- what only the disassembly and the sanitizers see
    Fault(
        "shared-template",
        "csrc/core/select.hpp",
        "selection.fill[u] = selection.keep;",
        "selection.fill[u] = selection.keep, std::sort(values, values + selection.keep);",
        DISASSEMBLY,
    ),
    Fault(
        "reads-beyond-a-tensor",
        "csrc/cpu/isa_portable.hpp",
        "uint32_t largest = 0;",
        "uint32_t largest = 0 & bits_of(*const_cast<const volatile float*>(map + size));",
        COUNT,
        build="sanitized",
        says="AddressSanitizer: heap-buffer-overflow",
    ),
    Fault(
        "reads-beyond-a-tensor-avx512",
        "csrc/cpu/isa_avx512.hpp",
        "_mm512_maskz_loadu_ps(valid, map + begin + i)",
        "_mm512_loadu_ps(map + begin + i)",
        COUNT,
        build="sanitized",
        says="AddressSanitizer: heap-buffer-overflow",
    ),
    Fault(
        "workspace-too-small",
        "csrc/cpu/backend.cpp",
        "reserve(&workspace.hot, size / 64 + 2)",
        "reserve(&workspace.hot, size / 64)",
        COUNT,
        build="sanitized",
        says="AddressSanitizer: use-after-poison",
    ),
    Fault(
        "shift-by-64",
        "csrc/core/count.hpp",
        "if (shift) chunk |= bits[(begin >> 6) + 1] << (64 - shift);",
        "chunk |= bits[(begin >> 6) + 1] << (64 - shift);",
        COUNT,
        build="sanitized",
        says="runtime error: shift exponent 64",
    ),
]
