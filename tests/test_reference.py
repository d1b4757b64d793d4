"""The specification against what others compute, and its own promises."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import NONFINITE, SPECIAL, Case, cases, make_acts, make_case
from torch import Tensor

from pydissect import reference
from pydissect.grids import Grid, ReceptiveField, axis_table

# --- interpolation ---------------------------------------------------------------------------------

SHAPES = [
    ((1, 1), (5, 7)),
    ((7, 7), (112, 112)),
    ((7, 5), (113, 113)),
    ((13, 13), (97, 61)),
    ((28, 30), (16, 9)),
    ((6, 1), (6, 3)),
]


@pytest.mark.parametrize("grid", ["half_pixel", "align_corners"])
@pytest.mark.parametrize(("map_size", "size"), SHAPES, ids=[f"{a[0]}x{a[1]}-to-{b[0]}x{b[1]}" for a, b in SHAPES])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-6)], ids=["fp32", "fp64"])
def test_upsample_agrees_with_torch(
    map_size: tuple[int, int], size: tuple[int, int], grid: str, dtype: torch.dtype, tolerance: float
):
    acts = torch.randn((3, 4, *map_size), generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    expected = F.interpolate(acts.double(), size, mode="bilinear", align_corners=grid == "align_corners")
    difference = (reference.upsample(acts, size, grid).double() - expected).abs().max()
    assert difference <= tolerance * acts.abs().max()
    ours = F.interpolate(acts, size, mode="bilinear", align_corners=grid == "align_corners")
    assert (reference.upsample(acts, size, grid) - ours).abs().max() <= tolerance * acts.abs().max()


@pytest.mark.parametrize(
    "grid", ["half_pixel", "align_corners", ReceptiveField((5, 3), (16, 15.5), (224, 227))], ids=str
)
def test_upsample_agrees_with_tent_weights(grid: Grid):
    """In float64, as a sum over all values of the map, each weighted by its distance from the pixel."""
    acts = torch.randn((2, 3, 13, 9), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = []
    for axis, (source, output) in enumerate([(13, 113), (9, 61)]):
        index, fraction = axis_table(grid, source, output, axis)
        places = torch.from_numpy(index).double() + torch.from_numpy(fraction).double()
        weights.append((1 - (places[:, None] - torch.arange(source)).abs()).clamp(min=0))
    expected = torch.einsum("yh,nuhw,xw->nuyx", weights[0], acts, weights[1])
    assert (reference.upsample(acts, (113, 61), grid) - expected).abs().max() <= 1e-6 * acts.abs().max()


finite = st.floats(-(2.0**126), 2.0**126, exclude_min=True, exclude_max=True, width=32)
fractions = st.floats(0, 1 - 2.0**-22, width=32)


def lerp(a: float, b: float, t: float) -> float:
    return float(reference.lerp(*(torch.tensor(value, dtype=torch.float32) for value in (a, b, t))))


@given(finite, finite, fractions)
def test_lerp_never_exceeds_the_larger_end(a: float, b: float, t: float):
    assert lerp(a, b, t) <= max(a, b)


@given(finite, st.integers(-3, 3), fractions)
def test_lerp_never_exceeds_the_larger_of_two_neighbours(a: float, steps: int, t: float):
    b = np.float32(a)
    for _ in range(abs(steps)):
        b = np.nextafter(b, np.float32(np.sign(steps) * 2.0**125))
    assert lerp(a, float(b), t) <= max(a, float(b))


@given(finite, finite, fractions, fractions)
def test_lerp_is_monotone_in_the_fraction(a: float, b: float, t: float, other: float):
    low, high = sorted([t, other])
    first, second = lerp(a, b, low), lerp(a, b, high)
    assert first <= second if a <= b else first >= second


@given(finite, finite, fractions)
def test_lerp_rounds_each_operation(a: float, b: float, t: float):
    difference = np.float32(b) - np.float32(a)
    expected = np.float32(a) + np.float32(t) * difference
    assert lerp(a, b, t) == expected


@given(cases(min_images=1, min_units=1))
def test_a_dead_cell_has_no_pixel(case: Case):
    """Pixels never exceed the largest of their four corners, NaN aside: what lets kernels skip cells."""
    acts = reference.finite_or_nan(case.acts)
    size = (case.masks.shape[2], case.masks.shape[3])
    pixels = reference.upsample(acts, size, case.grid)
    y0, x0 = (torch.from_numpy(axis_table(case.grid, acts.shape[2 + k], size[k], k).indices).long() for k in (0, 1))
    y1, x1 = (y0 + 1).clamp(max=acts.shape[2] - 1), (x0 + 1).clamp(max=acts.shape[3] - 1)
    corners = torch.stack([acts[:, :, y][..., x] for y, x in itertools.product((y0, y1), (x0, x1))])
    largest = corners.nan_to_num(nan=-torch.inf).amax(0)
    assert not (pixels > largest).any()
    assert torch.equal(pixels.isnan(), corners.isnan().any(0))


# --- non-finite values ---------------------------------------------------------------------------------


def test_what_is_non_finite():
    limit = np.float32(2.0**126)
    below = np.nextafter(limit, np.float32(0))
    values = [0.0, -0.0, 1e-45, 1.0, below, -below, limit, -limit, 2.0**127, np.inf, -np.inf, np.nan]
    result = reference.finite_or_nan(torch.tensor(np.array(values, np.float32)))
    assert result.isnan().tolist() == [False] * 6 + [True] * 6
    assert result[:6].numpy().tobytes() == np.array(values[:6], np.float32).tobytes()
    assert reference.finite_or_nan(torch.tensor([65504, torch.inf], dtype=torch.float16)).isnan().tolist() == [
        False,
        True,
    ]


# --- thresholds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", [0.005, "0.29", Fraction(1, 3), 0.9])
@pytest.mark.parametrize("values", ["normal", "ties"])
def test_thresholds_by_sorting(values: str, quantile: object):
    acts = make_acts((5, 4, 6, 7), values=values, special=SPECIAL + NONFINITE)
    result = reference.thresholds(acts, quantile)
    for u in range(4):
        unit = acts[:, u].numpy().ravel().astype(np.float64)
        unit[~(np.abs(unit) < 2.0**126)] = -np.inf
        k = int(Fraction(str(quantile)) * unit.size)
        ordered = sorted(unit.tolist(), reverse=True)
        assert result[u].item() == ordered[k]
        assert (unit > result[u].item()).sum() <= k


@pytest.mark.parametrize(
    ("quantile", "n", "k"),
    [
        (0.29, 100, 28 + 1),
        (0.005, 200, 1),
        (0.005, 199, 0),
        (0.57, 100, 57),
        ("1/3", 3, 1),
        (1e-5, 100_000, 1),
    ],
)
def test_rank_is_exact(quantile: object, n: int, k: int):
    assert reference.rank(quantile, n) == k


def test_rank_differs_from_floating_point():
    assert int(0.29 * 100) == 28
    assert reference.rank(0.29, 100) == 29


def test_threshold_is_never_negative_zero():
    result = reference.thresholds(torch.full((1, 2, 2, 2), -0.0), 0.5)
    assert result.tolist() == [0, 0]
    assert not result.signbit().any()


# --- counts --------------------------------------------------------------------------------------------


def naive_counts(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixel by pixel, in Python."""
    acts = case.acts.float().numpy()
    masks, annotated, threshold = case.masks.tolist(), case.annotated.tolist(), case.threshold.numpy()
    images, units, h, w = acts.shape
    concepts, H, W = case.masks.shape[1:]
    levels, categories = len(threshold), case.annotated.shape[1]
    both = np.zeros((levels, units, concepts), np.int64)
    area = np.zeros((levels, units, categories), np.int64)
    everywhere = np.zeros((levels, units), np.int64)
    concept_area = np.zeros(concepts, np.int64)
    rows, columns = axis_table(case.grid, h, H, 0), axis_table(case.grid, w, W, 1)

    def mix(a: np.float32, b: np.float32, t: np.float32) -> np.float32:
        step = np.float32(b - a)
        return np.float32(a + np.float32(t * step))

    for n, y, x in itertools.product(range(images), range(H), range(W)):
        for c in range(concepts):
            concept_area[c] += masks[n][c][y][x]
        y0, x0, ty, tx = rows.indices[y], columns.indices[x], rows.fractions[y], columns.fractions[x]
        y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
        for u in range(units):
            corners = [acts[n, u, i, j] for j in (x0, x1) for i in (y0, y1)]
            if not all(abs(corner) < 2.0**126 for corner in corners):
                continue
            value = mix(mix(corners[0], corners[1], ty), mix(corners[2], corners[3], ty), tx)
            for level in range(levels):
                if not value > threshold[level, u]:
                    continue
                everywhere[level, u] += 1
                for k in range(categories):
                    area[level, u, k] += annotated[n][k]
                for c in range(concepts):
                    both[level, u, c] += masks[n][c][y][x]
    return tuple(torch.from_numpy(array) for array in (both, area, everywhere, concept_area))  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grid", ["half_pixel", "align_corners", ReceptiveField(2, 3, (12, 20))], ids=str)
@pytest.mark.parametrize("values", ["normal", "ties", "subnormal"])
def test_counts_pixel_by_pixel(grid: Grid, values: str, seed: int):
    special = SPECIAL + NONFINITE if seed % 2 else ()
    case = make_case(
        units=2,
        map_size=(4, 5),
        size=(7, 9),
        concepts=4,
        present=[3, 0],
        values=values,
        special=special,
        grid=grid,
        categories=seed % 3,
        seed=seed,
    )
    result = reference.counts(case.acts, case.masks, case.threshold, case.annotated, case.grid)
    for mine, theirs in zip(result, naive_counts(case), strict=True):
        assert mine.dtype == torch.int64
        assert torch.equal(mine, theirs)


def test_counts_count_past_fp32():
    """2**24 + 1 pixels: an fp32 sum would stop at 2**24."""
    side = 2**12
    acts, masks = torch.ones(1, 1, 1, 1), torch.ones((1, 1, side + 1, side), dtype=torch.bool)
    both, area, everywhere, concept = reference.counts(
        acts, masks, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    )
    assert both.item() == area.item() == everywhere.item() == concept.item() == side * (side + 1)


# --- iou -----------------------------------------------------------------------------------------------


def test_iou():
    intersection = torch.tensor([0, 3, 5, 0, 2**53 + 1])
    unit_area = torch.tensor([0, 4, 5, 7, 2**53 + 1])
    concept_area = torch.tensor([0, 6, 5, 0, 2**53 + 3])
    result = reference.iou(intersection, unit_area, concept_area)
    assert result.dtype == torch.float64
    assert result.tolist() == [0.0, 3 / 7, 1.0, 0.0, float(2**53 + 1) / float(2**53 + 3)]


def test_upsample_works_where_the_activations_are():
    assert reference.upsample(torch.empty(2, 3, 4, 5, device="meta"), (9, 7)).shape == (2, 3, 9, 7)
