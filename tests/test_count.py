"""Counting: every backend, and every instruction set of the CPU's, against the reference, with ``==``."""

from functools import cache

import pytest
import torch
from engines import AVAILABLE, Engine, each_cpu_level, each_engine, threads
from hypothesis import given, note, settings
from hypothesis import strategies as st
from strategies import DTYPES, NONFINITE, ORDERS, Case, cases, make_acts, make_case
from torch import Tensor

from pydissect import _cpu, reference
from pydissect.backends import NO_IMAGE, CountArguments, Sums, choose_backend
from pydissect.counts import Counts
from pydissect.errors import InputError
from pydissect.grids import ReceptiveField, axis_table
from pydissect.iou import count


def run(engine: Engine, case: Case) -> Counts:
    """The engine's counts, on the CPU."""
    with engine.chosen() as backend:
        counts = count(
            engine.placed(case.acts),
            case.packed.to(engine.device),
            case.threshold.to(engine.device),
            grid=case.grid,
            nonfinite=case.policy,
            backend=backend,
        )
    tensors = (counts.intersection, counts.unit_area, counts.unit_area_all, counts.concept_area)
    return Counts(*(tensor.cpu() for tensor in tensors), categories=counts.categories)


def check(engine: Engine, case: Case) -> None:
    counts, expected = run(engine, case), case.expected
    for name in ("intersection", "unit_area", "unit_area_all", "concept_area"):
        mine, theirs = getattr(counts, name), getattr(expected, name)
        assert mine.dtype == torch.int64
        assert torch.equal(mine, theirs), f"{engine}: {name} differs at {(mine != theirs).nonzero().tolist()[:5]}"
    assert counts == expected


@settings(max_examples=4 * settings().max_examples)
@given(cases())
def test_any_case(case: Case):
    for engine in AVAILABLE:
        note(str(engine))
        check(engine, case)


# --- the awkward cases, by name ------------------------------------------------------------------------

NAMED = {
    "plain": {},
    "one-unit": {"units": 1},
    "37-units": {"units": 37, "images": 1},
    "1x1-maps": {"map_size": (1, 1), "units": 5},
    "7x5-maps": {"map_size": (7, 5)},
    "masks-113x113": {"size": (113, 113), "map_size": (13, 13), "units": 2},
    "masks-97x61": {"size": (97, 61), "map_size": (7, 7), "units": 2},
    "64-columns": {"map_size": (3, 64), "size": (9, 130)},
    "65-columns": {"map_size": (3, 65), "size": (9, 129)},
    "wide-maps": {"map_size": (3, 140), "size": (9, 283), "units": 2},
    "more-than-64-words": {"map_size": (3, 5), "size": (5, 530), "units": 2},
    "more-than-64-rows": {"map_size": (70, 3), "size": (90, 20), "units": 2},
    "16-words": {"map_size": (9, 7), "size": (20, 128), "units": 2},
    "17-words": {"map_size": (9, 7), "size": (20, 136), "units": 2},
    "64-pairs-of-rows": {"map_size": (64, 5), "size": (64, 24), "units": 2},
    "65-pairs-of-rows": {"map_size": (65, 5), "size": (65, 24), "units": 2},
    "a-row-read-by-18-pairs": {"map_size": (6, 5), "size": (108, 24), "units": 2},
    "fewer-pixels-than-rows": {"map_size": (13, 13), "size": (9, 61), "units": 2},
    "as-many-items-as-words-in-a-mask": {
        "map_size": (9, 5),
        "size": (9, 16),
        "values": "alive",
        "levels": ("-inf", "0.0"),
    },
    "many-values-a-word": {"map_size": (40, 50), "size": (16, 11)},
    "same-size": {"map_size": (19, 21), "size": (19, 21)},
    "align-corners": {"grid": "align_corners", "size": (25, 33)},
    "receptive-field": {"grid": ReceptiveField((3, -2.5), (9, 8.5), (64, 60)), "size": (33, 31)},
    "an-image-without-labels": {"images": 3, "present": (3, 0, 5)},
    "no-labels-at-all": {"present": (0, 0)},
    "no-concepts": {"concepts": 0, "categories": 0},
    "no-images": {"images": 0},
    "no-units": {"units": 0},
    "all-dead": {"values": "dead", "levels": ("0.0", "inf")},
    "all-alive": {"values": "alive", "levels": ("0.0", "-inf", "number")},
    "ties": {"values": "ties", "levels": ("value", "value", "0.0")},
    "non-finite": {"special": NONFINITE, "levels": ("value", "pixel", "-inf")},
    "huge-but-finite": {"special": ("largest",), "levels": ("pixel", "0.0", "below-pixel")},
    "negative-zero": {"special": ("-0.0",), "values": "ties", "levels": ("0.0", "-0.0", "below-pixel")},
    "subnormal": {"values": "subnormal", "levels": ("0.0", "1e-44", "value", "below-pixel")},
    "unsorted-levels": {"levels": ("number", "-inf", "0.0", "inf")},
}


@cache
def named_case(name: str, dtype: str, order: str) -> Case:
    return make_case(dtype=DTYPES[dtype], order=order, **NAMED[name])


@each_engine
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMED)
def test_named_case(name: str, dtype: str, order: str, engine: Engine):
    check(engine, named_case(name, dtype, order))


def test_named_cases_are_what_they_say():
    def area(name: str) -> Tensor:
        return named_case(name, "fp32", "contiguous").expected.unit_area_all

    pixels = 2 * 24 * 28
    assert (area("all-dead") == 0).all()
    assert (area("all-alive")[:2] == pixels).all()
    for name in set(NAMED) - {"all-dead", "all-alive", "no-images", "no-units"}:
        assert 0 < area(name).sum() < area(name).numel() * 3 * 113 * 113, name
    case = named_case("non-finite", "fp32", "contiguous")
    assert case.nonfinite
    assert (case.expected.unit_area_all[2] < pixels).all()  # -inf: all but the pixels that touch one
    case = named_case("negative-zero", "fp32", "contiguous")
    assert bool(((case.acts == 0) & case.acts.signbit()).any())
    assert torch.equal(case.expected.intersection[0], case.expected.intersection[1])
    case = named_case("an-image-without-labels", "fp32", "contiguous")
    assert not case.annotated[1].any()
    assert (case.expected.unit_area.amax(2) <= case.expected.unit_area_all).all()
    assert (case.expected.unit_area < case.expected.unit_area_all[..., None]).any()


@each_engine
@pytest.mark.parametrize("bitmaps", [0, 1, 31, 32, 33, 63, 64, 65, 70])
def test_bitmaps_an_image(bitmaps: int, engine: Engine):
    """Masks are counted 32 side by side, and one more is the unit's area."""
    case = make_case(concepts=70, present=(bitmaps, 70 - bitmaps), whole=False, size=(15, 20))
    check(engine, case)


@each_engine
def test_more_pixels_than_small_counters_hold(engine: Engine):
    """8,976 words of 8 pixels, all on: 71,808 pixels, more than a byte or 16 bits count."""
    case = make_case(
        images=1,
        units=2,
        size=(264, 272),
        map_size=(5, 5),
        concepts=3,
        values="alive",
        levels=("0.0",),
        whole=True,
    )
    full = torch.ones_like(case.masks)
    full[0, 1] = case.masks[0, 1]
    full[0, 2, 0, 0] = False
    check(engine, Case(case.acts, full, case.threshold))


@each_cpu_level
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_when_the_caller_flushes_them(
    dtype: str, order: str, engine: Engine, request: pytest.FixtureRequest
):
    # The reference is plain torch, which would flush them, and has computed what is expected before.
    case = make_case(
        dtype=DTYPES[dtype],
        order=order,
        values="subnormal",
        levels=("0.0", "1e-44", "value", "below-pixel"),
        units=20,
    )
    assert 0 < case.expected.unit_area_all[0].sum() < 20 * 2 * 24 * 28
    tiny = torch.tensor([1e-40])
    request.getfixturevalue("flush_denormals")
    assert (tiny * 1.0).view(torch.int32).item() == 0, "the caller does not flush subnormals"
    for number in (1, 2):
        with threads(number):
            check(engine, case)
    assert (tiny * 1.0).view(torch.int32).item() == 0, "the caller's setting was not restored"


@each_cpu_level
def test_the_caller_keeps_subnormals(engine: Engine):
    tiny = torch.tensor([1e-40])
    check(engine, make_case(units=20))
    assert (tiny * 1.0).item() == tiny.item() != 0


# --- what must not matter --------------------------------------------------------------------------------


@each_cpu_level
@pytest.mark.parametrize("units", [1, 3, 33, 64])
@pytest.mark.parametrize("number", [1, 2, 3, 5, 40])
def test_threads(number: int, units: int, engine: Engine):
    case = make_case(units=units, images=4, size=(20, 33), map_size=(5, 4), concepts=6)
    with threads(number):
        check(engine, case)


@cache
def lopsided(order: str, axis: str) -> Case:
    """A case in which all that there is to count is of the last images, or units."""
    case = make_case(images=12, units=200, map_size=(9, 9), size=(28, 28), order=order, levels=("value",))
    if axis == "images":
        case.acts[:6] = case.acts.min() - 1
    else:
        case.threshold[:, :100] = case.acts.max()
    return case


@each_cpu_level
@pytest.mark.parametrize("axis", ["images", "units"])
@pytest.mark.parametrize("order", ["contiguous", "channels-last"])
@pytest.mark.parametrize("number", [2, 3, 8])
def test_threads_take_over_what_others_have_left(number: int, order: str, axis: str, engine: Engine):
    with threads(number):
        check(engine, lopsided(order, axis))


@each_engine
def test_repeats_itself(engine: Engine):
    case = make_case(units=40, images=3, special=NONFINITE)
    assert all(run(engine, case) == run(engine, case) for _ in range(5))


@given(cases(min_images=2), st.data())
def test_adds_over_images(case: Case, data: st.DataObject):
    cut = data.draw(st.integers(0, len(case.acts)))
    parts = [
        count(case.acts[images], case.packed[images], case.threshold, grid=case.grid, nonfinite=case.policy)
        for images in (slice(0, cut), slice(cut, None))
    ]
    assert parts[0] + parts[1] == case.expected


@given(cases(min_images=1, min_units=1), st.randoms(use_true_random=False))
def test_permutations(case: Case, random):
    images, units, concepts = (random.sample(range(size), size) for size in (*case.acts.shape[:2], case.masks.shape[1]))
    masks = case.masks[images][:, concepts]
    result = count(
        case.acts[images][:, units],
        masks,
        case.threshold[:, units],
        grid=case.grid,
        nonfinite=case.policy,
        backend="cpu",
    )
    expected = case.expected
    assert torch.equal(result.intersection, expected.intersection[:, units][..., concepts])
    assert torch.equal(result.unit_area_all, expected.unit_area_all[:, units])
    assert torch.equal(result.concept_area, expected.concept_area[concepts])


@given(cases(min_images=1))
def test_bounds(case: Case):
    """No intersection is larger than what intersects; a whole image meets the unit's whole area."""
    counts = run(AVAILABLE[0], case)
    area = counts.unit_area[..., counts.categories.of_concept]
    assert (counts.intersection <= area).all()
    assert (counts.intersection <= counts.concept_area).all()
    assert (counts.unit_area <= counts.unit_area_all[..., None]).all()
    assert (counts.intersection >= 0).all()
    whole = case.masks.flatten(2).all(2).all(0)
    assert torch.equal(counts.intersection[..., whole], counts.unit_area_all[..., None].expand_as(area)[..., whole])


@given(cases(nonfinite=False, min_images=1))
def test_higher_thresholds_give_fewer_pixels(case: Case):
    levels = case.threshold.sort(dim=0).values
    counts = run(AVAILABLE[0], Case(case.acts, case.masks, levels, case.grid, case.category_names))
    assert (counts.intersection.diff(dim=0) <= 0).all()
    assert (counts.unit_area_all.diff(dim=0) <= 0).all()


@each_engine
def test_a_level_does_not_depend_on_the_others(engine: Engine):
    case = make_case(levels=("pixel", "-inf", "value", "quantile"), units=18)
    everything = run(engine, case)
    for level, threshold in enumerate(case.threshold):
        alone = run(engine, Case(case.acts, case.masks, threshold[None], case.grid, case.category_names))
        assert torch.equal(alone.intersection[0], everything.intersection[level])
        assert torch.equal(alone.unit_area[0], everything.unit_area[level])
        assert torch.equal(alone.unit_area_all[0], everything.unit_area_all[level])


@each_engine
def test_chosen_images(engine: Engine):
    """Masks picked by number or in steps, whose ranges are not those of the packed order."""
    case = make_case(images=5, present=(3, 0, 5, 1, 4))
    with engine.chosen() as backend:
        for images in ([4, 0, 0, 2], slice(1, None, 2)):
            chosen = Case(case.acts[images], case.masks[images], case.threshold, case.grid, case.category_names)
            result = count(
                chosen.acts.to(engine.device),
                case.packed[images].to(engine.device),
                case.threshold.to(engine.device),
                backend=backend,
            )
            assert result.intersection.cpu().tolist() == chosen.expected.intersection.tolist()
            assert result.unit_area.cpu().tolist() == chosen.expected.unit_area.tolist()


# --- what a backend is given and gives -------------------------------------------------------------------


def arguments(case: Case, nonfinite_off: bool = True) -> CountArguments:
    return CountArguments(case.acts, case.packed, case.threshold, case.grid, nonfinite_off)


@each_engine
@pytest.mark.parametrize("size", [(8, 8), (7, 13), (13, 13), (5, 65)], ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("value", [2.0, torch.nan, -torch.nan, torch.inf, -torch.inf, 2.0**126, -(2.0**126)], ids=str)
def test_one_value_that_matters(engine: Engine, size: tuple[int, int], value: float):
    """Kernels may look at many values at once: wherever the one that matters stands, it is seen, at every threshold."""
    places = size[0] * size[1]
    plain = torch.linspace(-3.0, -1.0, places).repeat(1, places, 1)
    plain[0].fill_diagonal_(value)
    for dtype in DTYPES.values():
        acts = plain.view(1, places, *size).to(dtype)
        for threshold in (1.0, 0.0, -0.5, 3e38, torch.inf):
            case = Case(acts, torch.ones(1, 1, 16, 24, dtype=torch.bool), torch.full((1, places), threshold))
            check(engine, case)
            if not case.nonfinite:
                continue
            with engine.chosen() as name:
                backend = choose_backend(name, engine.device)
                for place in {0, 31, 32, 63, places // 2, places - 1}:
                    one = Case(acts[:, place : place + 1], case.masks, case.threshold[:, :1])
                    on_device = CountArguments(
                        engine.placed(one.acts),
                        one.packed.to(engine.device),
                        one.threshold.to(engine.device),
                        "half_pixel",
                        False,
                    )
                    assert int(backend.count(on_device, Sums.zeros(1, 1, 1, 1, engine.device))) == 0


@each_engine
@pytest.mark.parametrize("units", [3, 40])
def test_adds_to_the_sums(units: int, engine: Engine):
    """Each sum starts elsewhere, so that none can be written over, or left out."""
    case = make_case(units=units, images=3)
    with engine.chosen() as name, threads(3):
        backend = choose_backend(name, engine.device)
        levels, concepts, categories = len(case.threshold), case.masks.shape[1], len(case.categories)
        sums = Sums.zeros(levels, units, concepts, categories, engine.device)
        for offset, sum_ in enumerate(vars(sums).values()):
            sum_ += torch.arange(sum_.numel(), device=engine.device).view(sum_.shape) * 1000 + offset + 2**40
        before = {field: sum_.clone() for field, sum_ in vars(sums).items()}
        moved = CountArguments(
            case.acts.to(engine.device),
            case.packed.to(engine.device),
            case.threshold.to(engine.device),
            case.grid,
            False,
        )
        assert int(backend.count(moved, sums)) == NO_IMAGE
    for field, sum_ in vars(sums).items():
        assert torch.equal((sum_ - before[field]).cpu(), getattr(case.expected, field))


@each_engine
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("images", "units", "places"),
    [
        (4, 3, [(0, 0)]),
        (4, 3, [(3, 2)]),
        (4, 3, [(2, 0), (1, 2), (3, 1)]),
        (2, 50, [(1, 0), (0, 49)]),
        (1, 50, [(0, 17), (0, 33)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("value", NONFINITE)
def test_names_the_first_non_finite_map(value: str, images: int, units: int, places: list, number: int, engine: Engine):
    acts = make_acts((images, units, 3, 5), values="dead")  # nor is a map that is dead otherwise let through
    special = make_acts((1,), special=(value,), seed=9)
    special = {"2**126": 2.0**126, "-2**127": -(2.0**127)}.get(value) or float(value)
    for image, unit in places:
        acts[image, unit, 2, 4] = special
    masks = torch.ones((images, 1, 6, 10), dtype=torch.bool)
    image, unit = min(places)
    with engine.chosen() as backend, threads(number):
        acts, masks = acts.to(engine.device), masks.to(engine.device)
        with pytest.raises(InputError, match=rf"unit {unit} of image {image} has a non-finite activation"):
            count(acts, masks, 0.0, backend=backend)
        assert count(acts, masks, 0.0, backend=backend, nonfinite="off").unit_area_all.sum() == 0


@each_engine
def test_largest_finite_value_is_let_through(engine: Engine):
    case = make_case(special=("largest",), levels=("0.0",))
    assert not case.nonfinite
    assert case.acts.abs().max() == torch.nextafter(torch.tensor(2.0**126), torch.tensor(0.0))
    check(engine, case)


@each_engine
def test_strictly_greater(engine: Engine):
    """A pixel at the threshold is off; one rounding above it, on."""
    acts = torch.tensor([1.0, 1.0 + 2.0**-23]).view(1, 2, 1, 1)
    masks = torch.ones((1, 1, 3, 5), dtype=torch.bool)
    with engine.chosen() as backend:
        result = count(acts.to(engine.device), masks.to(engine.device), 1.0, backend=backend)
    assert result.unit_area_all.tolist() == [0, 15]


@each_engine
def test_a_fused_multiply_add_would_show(engine: Engine):
    """Pixels that are larger if ``a + t * (b - a)`` rounds twice instead of three times."""
    units, row = 200, 2
    acts = torch.randn((1, units, 2, 1), generator=torch.Generator().manual_seed(3))
    t = float(axis_table("half_pixel", 2, 7, 0).fractions[row])
    assert t not in (0, 0.5), "fusing would change nothing"
    pixels = reference.upsample(acts, (7, 1))[0, :, row, 0]  # [U]
    a, b = acts[0, :, 0, 0], acts[0, :, 1, 0]
    fused = (a.double() + t * (b - a).double()).float()  # the product is exact in float64
    larger = fused > pixels
    assert larger.sum() > 10, "too few pixels would show it"
    masks = torch.zeros((1, 1, 7, 1), dtype=torch.bool)
    masks[0, 0, row] = True
    with engine.chosen() as backend:
        result = count(
            acts[:, larger].to(engine.device),
            masks.to(engine.device),
            pixels[larger].to(engine.device),
            backend=backend,
        )
    assert result.intersection.sum() == 0


def test_an_unknown_cpu_level_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYDISSECT_CPU_LEVEL", "sse9")
    case = make_case()
    with pytest.raises(
        InputError, match=r"PYDISSECT_CPU_LEVEL: expected avx512-bitalg, avx512, avx2, portable, found 'sse9'"
    ):
        count(case.acts, case.masks, case.threshold, backend="cpu")


def test_the_cap_chooses_the_level():
    known = ["avx512-bitalg", "avx512", "avx2", "portable"]
    available = _cpu.levels()
    assert available == [level for level in known if level in available]
    assert available[-1] == "portable"
    assert _cpu.level() == available[0]
    for place, cap in enumerate(known):
        assert _cpu.level(cap) == next(level for level in known[place:] if level in available)
    with pytest.raises(ValueError, match="'sse9'"):
        _cpu.level("sse9")
