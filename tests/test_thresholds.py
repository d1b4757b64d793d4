"""Exact thresholds: every backend against the reference, however the values arrive."""

import itertools
import warnings
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from engines import AVAILABLE, CPU, CUDA_HOST, Engine, each_engine, threads
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, NONFINITE, ORDERS, SPECIAL, VALUES, make_acts
from torch import Tensor

from pydissect import reference
from pydissect.backends import Selection, choose_backend
from pydissect.errors import InputError
from pydissect.thresholds import ThresholdFinder, check_quantile, quantile_thresholds

QUANTILES = [0.005, 0.05, 0.29, "1/3", 0.5, 0.97]


@pytest.fixture(autouse=True)
def _no_value_above_is_fine_here() -> Iterator[None]:
    """Small cases often leave none above the threshold; the tests of that warning catch it first."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="quantile .* leaves none above the threshold")
        yield


def values_of(acts: Tensor) -> int:
    return acts.shape[0] * acts.shape[2] * acts.shape[3]


def expected(acts: Tensor, quantiles: list) -> Tensor:
    return torch.stack([reference.thresholds(acts, quantile) for quantile in quantiles])


def same_bits(mine: Tensor, theirs: Tensor) -> bool:
    return mine.shape == theirs.shape and torch.equal(mine.cpu().view(torch.int32), theirs.view(torch.int32))


def find(acts: Tensor, quantiles: list, cuts: list[int], backend: str = "auto") -> Tensor:
    """The thresholds from batches that end at the ``cuts``."""
    finder = ThresholdFinder(values_of(acts), quantiles, backend=backend)
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(acts)]):
        finder.update(acts[begin:end])
    return finder.compute()


@st.composite
def activations(draw: st.DrawFn) -> Tensor:
    shape = (
        draw(st.integers(1, 12)),
        draw(st.sampled_from([1, 2, 3, 15, 17, 33])),
        draw(st.integers(1, 14)),
        draw(st.integers(1, 14)),
    )
    return make_acts(
        shape,
        draw(st.sampled_from(list(DTYPES.values()))),
        draw(st.sampled_from(list(ORDERS))),
        draw(st.sampled_from([*VALUES, "subnormal"])),
        draw(st.lists(st.sampled_from(SPECIAL + NONFINITE), max_size=4, unique=True)),
        draw(st.integers(0, 2**32)),
    )


quantiles = st.one_of(
    st.sampled_from(QUANTILES),
    st.fractions(Fraction(1, 1000), Fraction(999, 1000)),
    st.floats(0.001, 0.999),
)


@given(activations(), st.lists(quantiles, min_size=1, max_size=3), st.lists(st.integers(0, 12), max_size=4))
def test_any_batches(acts: Tensor, quantiles: list, cuts: list[int]):
    cuts = [min(cut, len(acts)) for cut in cuts]
    for engine in AVAILABLE:
        with engine.chosen() as backend:
            assert same_bits(find(engine.placed(acts), quantiles, cuts, backend), expected(acts, quantiles)), engine


@each_engine
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("values", [*VALUES, "subnormal"])
def test_dtypes_and_orders(values: str, dtype: str, order: str, engine: Engine):
    """More than fits the buffers at once, so that they are pruned again and again."""
    acts = make_acts((24, 3, 11, 13), DTYPES[dtype], order, values, SPECIAL + NONFINITE)
    with engine.chosen() as backend:
        mine = find(engine.placed(acts), [0.01, 0.2], [5, 6, 17], backend)
    assert same_bits(mine, expected(acts, [0.01, 0.2]))


def _steps(values: Tensor, length: int) -> Tensor:
    """Blocks of equal values, rising."""
    return torch.arange(len(values)).div(length, rounding_mode="floor").float()


def _blocked(values: Tensor, value: float) -> Tensor:
    """Every other hundred replaced."""
    return torch.where(torch.arange(len(values)) // 100 % 2 == 0, value, values)


# In the order in which a unit's values arrive.
ARRANGEMENTS = {
    "any": lambda values: values,
    "rising": lambda values: values.sort().values,
    "falling": lambda values: values.sort(descending=True).values,
    "rising-then-falling": lambda values: torch.cat(
        [values[::2].sort().values, values[1::2].sort(descending=True).values]
    ),
    "alternating": lambda values: torch.stack(
        [values[::2].sort().values, values[1::2].sort(descending=True).values], 1
    ),
    "rising-in-images": lambda values: values.sort().values.view(-1, 100)[:, torch.randperm(100)],
    "rising-steps": lambda values: _steps(values, 37),
    "falling-steps": lambda values: -_steps(values, 500),
    "rising-over-all-magnitudes": lambda values: torch.linspace(-140, 125, len(values)).exp2(),
    "neighbouring-floats": lambda values: 1 + torch.arange(len(values)) * 2.0**-23,
    "all-equal": lambda values: torch.full_like(values, 3.5),
    "two-values": lambda values: (values > 1).float(),
    "two-values-rising": lambda values: (values > 1).float().sort().values,
    "zeros-of-both-signs": lambda values: torch.where(values > 0, 0.0, -0.0),
    "zeros-and-few": lambda values: (values - 2.5).relu(),
    "negative-zeros": lambda values: torch.full_like(values, -0.0),
    "all-inf": lambda values: torch.full_like(values, torch.inf),
    "all-minus-inf": lambda values: torch.full_like(values, -torch.inf),
    "all-nan": lambda values: torch.full_like(values, torch.nan),
    "nan-but-for-few": lambda values: torch.where(values > 2, values, torch.nan),
    "blocks-of-nan": lambda values: _blocked(values, torch.nan),
    "blocks-of-minus-inf": lambda values: _blocked(values.sort().values, -torch.inf),
    "blocks-of-inf": lambda values: _blocked(values.sort().values, torch.inf),
    "negative": lambda values: -values.abs() - 1,
}


def arranged(dtype: torch.dtype = torch.float32, order: str = "contiguous") -> Tensor:
    """``[40, U, 10, 10]``: every arrangement is a unit."""
    values = torch.randn(4000, generator=torch.Generator().manual_seed(1))
    units = [arrange(values).reshape(40, 10, 10) for arrange in ARRANGEMENTS.values()]
    return ORDERS[order](torch.stack(units, dim=1).to(dtype))


def wrong_units(mine: Tensor, theirs: Tensor) -> list[str]:
    return [name for u, name in enumerate(ARRANGEMENTS) if not same_bits(mine[..., u], theirs[..., u])]


# The buffers of the first are full again and again; those of the last never.
LEVELS = ([0.005], [0.04], [0.1, 0.02], QUANTILES)


@each_engine
@pytest.mark.parametrize("order", ["contiguous", "channels-last", "padded-rows"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("quantiles", LEVELS, ids=str)
def test_arrangements(quantiles: list, dtype: str, order: str, engine: Engine):
    acts = arranged(DTYPES[dtype], order)
    with engine.chosen() as backend:
        mine = find(engine.placed(acts), quantiles, [13, 14], backend)
    assert wrong_units(mine, expected(acts, quantiles)) == []
    assert not ((mine == 0) & mine.signbit()).any()


@each_engine
@pytest.mark.parametrize("above", [0, 1, 3998, 3999])
def test_lowest_and_highest_ranks(above: int, engine: Engine):
    acts = arranged()
    quantile = Fraction(2 * above + 1, 8000)
    assert reference.rank(quantile, 4000) == above
    with engine.chosen() as backend:
        mine = find(engine.placed(acts), [quantile], [20], backend)
    assert wrong_units(mine, expected(acts, [quantile])) == []


@each_engine
@pytest.mark.parametrize("finite", [0, 3, 4, 5])
def test_hardly_as_many_finite_values_as_may_exceed(finite: int, engine: Engine):
    acts = torch.full((10, 2, 1, 1), torch.nan)
    acts[:finite, 0, 0, 0] = torch.arange(finite) - 2.0
    acts[10 - finite :, 1, 0, 0] = torch.arange(finite) + 3.0
    assert reference.rank(0.4, 10) == 4
    with engine.chosen() as backend:
        mine = find(engine.placed(acts), [0.4], [10], backend)
    assert mine.tolist() == [[-2.0, 3.0] if finite > 4 else [-torch.inf, -torch.inf]]


@each_engine
def test_one_value_a_batch(engine: Engine):
    acts = arranged().permute(0, 2, 3, 1).reshape(4000, len(ARRANGEMENTS), 1, 1)[::5]
    with engine.chosen() as backend:
        mine = find(engine.placed(acts), [0.02], list(range(1, 800)), backend)
    assert wrong_units(mine, expected(acts, [0.02])) == []


@each_engine
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrangements_in_shards(dtype: str, engine: Engine):
    """Each with a bound of its own, in an order of their own; one goes through a state."""
    acts = arranged(DTYPES[dtype])
    with engine.chosen() as backend:
        shards = [ThresholdFinder(4000, 0.02, backend=backend) for _ in range(3)]
        for shard, (begin, end) in zip(shards, [(25, 40), (0, 11), (11, 25)], strict=True):
            shard.update(engine.placed(acts[begin:end]))
        restored = ThresholdFinder(4000, 0.02, backend=backend)
        restored.load_state_dict(shards[1].state_dict())
        mine = shards[0].merge(restored).merge(shards[2]).compute()
    assert wrong_units(mine, reference.thresholds(acts, 0.02)) == []


@st.composite
def streams(draw: st.DrawFn) -> Tensor:
    """``[N, U, h, w]`` of which every unit is a chain of runs: ramps, plateaus, noise, non-finite values."""
    h, w = draw(st.sampled_from([(1, 1), (1, 7), (5, 5), (9, 17)]))
    images = draw(st.integers(1, 2000 // (h * w)))
    length = images * h * w
    units = []
    for _ in range(draw(st.sampled_from([1, 2, 9]))):
        runs: list[Tensor] = []
        while sum(map(len, runs)) < length:
            n = draw(st.integers(1, length))
            start, slope = draw(st.integers(-3, 3)), draw(st.sampled_from([0.0, 2.0**-20, -(2.0**-20), 1.0, -1.0]))
            run = start + slope * torch.arange(n)
            kind = draw(st.sampled_from(["ramp", "noise", "ties", "nan", "-inf", "scaled"]))
            if kind == "noise":
                run = run + torch.rand(n, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
            elif kind == "ties":
                run = run.mul(0.25).round()
            elif kind == "scaled":
                run = run * draw(st.sampled_from([2.0**100, 2.0**-140]))
            elif kind != "ramp":
                run = torch.full((n,), float(kind))
            runs.append(run)
        units.append(torch.cat(runs)[:length].view(images, h, w))
    order = draw(st.sampled_from(list(ORDERS)))
    return ORDERS[order](torch.stack(units, dim=1).to(draw(st.sampled_from(list(DTYPES.values())))))


@given(
    streams(), st.fractions(Fraction(1, 1000), Fraction(1, 5)), st.lists(st.integers(0, 2000), max_size=4), st.data()
)
def test_any_streams(acts: Tensor, quantile: Fraction, cuts: list[int], data: st.DataObject):
    """In batches, and in shards merged in any order."""
    cuts = sorted(min(cut, len(acts)) for cut in cuts)
    parts = [acts[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(acts)])]
    theirs = expected(acts, [quantile])
    shuffled = data.draw(st.permutations(parts))
    for engine in AVAILABLE:
        with engine.chosen() as backend:
            assert same_bits(find(engine.placed(acts), [quantile], cuts, backend), theirs), engine
            merged = ThresholdFinder(values_of(acts), [quantile], backend=backend)
            for part in shuffled:
                shard = ThresholdFinder(values_of(acts), [quantile], backend=backend)
                shard.update(engine.placed(part))
                merged.merge(shard)
            assert same_bits(merged.compute(), theirs), engine


@pytest.mark.parametrize("engine", [*CPU, CUDA_HOST], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_when_the_caller_flushes_them(dtype: str, engine: Engine, request: pytest.FixtureRequest):
    """Also when merged, saved and restored, which happens in torch."""
    acts = make_acts((30, 3, 9, 9), DTYPES[dtype], values="subnormal")
    theirs = expected(acts, QUANTILES)
    assert ((theirs != 0) & (theirs.abs() < 2.0**-14)).any(), "no threshold is subnormal"
    request.getfixturevalue("flush_denormals")
    with engine.chosen() as backend:
        assert same_bits(find(acts, QUANTILES, [7], backend), theirs)
        finders = [ThresholdFinder(values_of(acts), QUANTILES, backend=backend) for _ in range(2)]
        finders[0].update(acts[:13])
        finders[1].update(acts[13:])
        restored = ThresholdFinder(values_of(acts), QUANTILES, backend=backend)
        restored.load_state_dict(finders[0].merge(finders[1]).state_dict())
        assert same_bits(restored.compute(), theirs)


@each_engine
@pytest.mark.parametrize("number", [1, 2, 3, 40])
def test_threads(number: int, engine: Engine):
    acts = make_acts((6, 33, 9, 9), special=NONFINITE)
    with engine.chosen() as backend, threads(number):
        assert same_bits(find(engine.placed(acts), QUANTILES, [], backend), expected(acts, QUANTILES))


@each_engine
def test_batches_of_every_size(engine: Engine):
    acts = make_acts((12, 2, 9, 9), values="ties")
    theirs = expected(acts, QUANTILES)
    with engine.chosen() as backend:
        for size in range(1, 13):
            assert same_bits(find(engine.placed(acts), QUANTILES, list(range(size, 12, size)), backend), theirs)


@given(st.permutations(range(9)), st.sampled_from(["normal", "ties"]))
def test_order_of_images_does_not_matter(order: list[int], values: str):
    acts = make_acts((9, 2, 7, 7), values=values)
    assert same_bits(find(acts[order], QUANTILES, [4]), expected(acts, QUANTILES))


@each_engine
@pytest.mark.parametrize("finders", [1, 2, 7])
@pytest.mark.parametrize("values", ["normal", "ties", "sparse"])
def test_merges(values: str, finders: int, engine: Engine):
    """Of shards of different sizes, one of which is empty when there are several."""
    acts = make_acts((29, 3, 8, 8), values=values, special=("nan", "-0.0"))
    with engine.chosen() as backend:
        shards = [ThresholdFinder(values_of(acts), QUANTILES, backend=backend) for _ in range(finders)]
        for image in range(len(acts)):
            shard = shards[image * image % max(finders - 1, 1)]
            shard.update(engine.placed(acts[image : image + 1]))
        merged = shards[-1]
        for shard in shards[:-1]:
            assert merged.merge(shard) is merged
        assert same_bits(merged.compute(), expected(acts, QUANTILES))


def test_updates_after_a_merge():
    acts = make_acts((20, 3, 8, 8))
    finders = [ThresholdFinder(values_of(acts), 0.2) for _ in range(2)]
    finders[0].update(acts[:9])
    finders[1].update(acts[9:13])
    finders[0].merge(finders[1]).update(acts[13:])
    assert same_bits(finders[0].compute(), reference.thresholds(acts, 0.2))


@pytest.mark.parametrize("images", [1, 3, 16])
def test_state_dict(images: int):
    """A restored finder goes on where the saved one stood, whatever becomes of the saved one."""
    acts = make_acts((17, 3, 8, 8), values="ties", special=("nan",))
    saved, restored = (ThresholdFinder(values_of(acts), QUANTILES) for _ in range(2))
    saved.update(acts[:images])
    state = saved.state_dict()
    saved.update(torch.full_like(acts[images:], 100.0))
    restored.update(acts[:5])  # is forgotten
    restored.load_state_dict(state)
    assert restored.first_nonfinite() == saved.first_nonfinite()
    restored.update(acts[images:])
    assert same_bits(restored.compute(), expected(acts, QUANTILES))


@each_engine
@pytest.mark.parametrize("values", ["normal", "ties"])
def test_state_moves_between_backends(values: str, engine: Engine):
    """From the CPU's to the engine's and back, by a state and by merging."""
    acts = make_acts((30, 3, 8, 8), values=values, special=("nan", "-0.0"))
    n_values = values_of(acts)
    first, last = (ThresholdFinder(n_values, [0.02, 0.3], backend="cpu") for _ in range(2))
    first.update(acts[:9])
    with engine.chosen() as backend:
        middle, other = (ThresholdFinder(n_values, [0.02, 0.3], backend=backend) for _ in range(2))
        middle.load_state_dict(first.state_dict())
        middle.to(engine.device).update(engine.placed(acts[9:17]))
        last.load_state_dict(middle.to("cpu").state_dict())
        last.update(acts[17:25])
        other.update(engine.placed(acts[25:]))
        mine = last.merge(other).compute()
    assert same_bits(mine, expected(acts, [0.02, 0.3]))


def test_state_dict_of_a_new_finder():
    finder = ThresholdFinder(64, 0.2)
    finder.update(make_acts((1, 2, 8, 8)))
    finder.load_state_dict(ThresholdFinder(64, 0.2).state_dict())
    acts = make_acts((1, 5, 8, 8))
    finder.update(acts)
    assert same_bits(finder.compute(), reference.thresholds(acts, 0.2))


def test_state_dict_can_be_saved(tmp_path):
    acts = make_acts((4, 2, 5, 5), special=("nan",))
    finder = ThresholdFinder(100, [0.1, "1/3"])
    finder.update(acts)
    torch.save(finder.state_dict(), tmp_path / "state.pt")
    restored = ThresholdFinder(100, [0.1, "1/3"])
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same_bits(restored.compute(), finder.compute())


@pytest.mark.parametrize(
    ("other", "part"),
    [
        ((101, 0.1), "(101, ['0.1'])"),
        ((100, 0.2), "(100, ['0.2'])"),
        ((100, [0.1, 0.2]), "(100, ['0.1', '0.2'])"),
    ],
)
def test_state_dict_of_another_finder_is_refused(other: tuple, part: str):
    with pytest.raises(InputError, match="state_dict: expected n_values and quantiles") as error:
        ThresholdFinder(100, 0.1).load_state_dict(ThresholdFinder(*other).state_dict())
    assert part in str(error.value)
    assert "(100, ['0.1'])" in str(error.value)


@each_engine
@pytest.mark.parametrize("images", [2, 50])
def test_memory_grows_with_the_rank_alone(images: int, engine: Engine):
    """At most 8 bytes for each value that may exceed the threshold, and a small buffer."""
    acts = engine.placed(make_acts((images, 5, 20, 20)))
    n_values = 5_000_000
    with engine.chosen() as backend:
        finder = ThresholdFinder(n_values, 0.001, backend=backend)
        finder.update(acts)
    selection = finder._selection
    assert selection is not None
    held = sum(t.untyped_storage().nbytes() for t in (selection.values, selection.fill, selection.bound))
    assert held <= 5 * (8 * (0.001 * n_values + 1) + 4 * 256 + 64)


@each_engine
@pytest.mark.parametrize("order", ["contiguous", "channels-last"])
def test_memory_is_bounded_in_any_order(order: str, engine: Engine):
    """The buffers never grow, and what they hold and leave out agrees with the bounds."""
    acts = engine.placed(arranged(order=order))
    with engine.chosen() as backend:
        finder = ThresholdFinder(4000, 0.02, backend=backend)
        for image in range(40):
            finder.update(acts[image : image + 1])
            selection = finder._selection
            assert selection is not None
            assert selection.values.untyped_storage().nbytes() <= 4 * len(ARRANGEMENTS) * (2 * 81 + 256)
            seen = reference.finite_or_nan(acts[: image + 1]).transpose(0, 1).flatten(1)
            for u, name in enumerate(ARRANGEMENTS):
                held = selection.values[u, : int(selection.fill[u])]
                bound = selection.bound[u]
                assert (held >= bound).all(), name
                assert len(held) >= selection.keep or bound == -torch.inf, name
                assert torch.equal(held[held > bound].sort().values, seen[u][seen[u] > bound].sort().values), name


@each_engine
@pytest.mark.parametrize("order", ["contiguous", "channels-last", "padded-rows"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_writes_within_the_buffers(dtype: str, order: str, engine: Engine):
    """A buffer in the midst of other memory, which stays as it was."""
    acts = engine.placed(arranged(DTYPES[dtype], order))
    capacity, margin, sentinel = 300, 64, -12345.0
    for u in range(len(ARRANGEMENTS)):
        storage = torch.full((margin + capacity + margin,), sentinel, device=engine.device)
        selection = Selection(
            values=storage[margin:-margin].view(1, capacity),
            fill=torch.zeros(1, dtype=torch.int64, device=engine.device),
            bound=torch.full((1,), -torch.inf, device=engine.device),
            keep=40,
        )
        with engine.chosen() as name:
            choose_backend(name, engine.device).select(acts[:, u : u + 1], selection)
        assert (storage[:margin] == sentinel).all()
        assert (storage[-margin:] == sentinel).all()


@each_engine
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units_innermost", [False, True])
def test_every_half_against_any_bound(units_innermost: bool, dtype: str, engine: Engine):
    """All 65,536 halves (for fp32: their like) against bounds on, just above, just below and between them."""
    if dtype == "fp32":
        patterns = torch.arange(-(2**31), 2**31, 2**16 + 1, dtype=torch.int64).to(torch.int32).view(torch.float32)
    else:
        patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(DTYPES[dtype])
    values = reference.finite_or_nan(patterns)
    generator = torch.Generator().manual_seed(3)
    levels = values[~values.isnan()]
    levels = levels[torch.randint(0, len(levels), (12,), generator=generator)]
    neighbours = [torch.nextafter(levels, torch.tensor(side * torch.inf)) for side in (-1, 1)]
    numbers = torch.tensor([0.0, -0.0, 2.0**-149, -(2.0**-149), 65519.0, -65519.0, 65537.0, -65537.0, 1e30, -torch.inf])
    bounds = torch.cat([levels, *neighbours, levels * 1.0001, numbers])
    units, n = len(bounds), len(patterns)
    acts = patterns.view(n, 1).expand(n, units).contiguous().view(n, units, 1, 1)
    if not units_innermost:
        acts = patterns.view(1, 1, n, 1).expand(1, units, n, 1)
    selection = Selection(
        values=torch.zeros(units, 2 * n, device=engine.device),
        fill=torch.zeros(units, dtype=torch.int64, device=engine.device),
        bound=bounds.to(engine.device),
        keep=n,
    )
    with engine.chosen() as name:
        choose_backend(name, engine.device).select(engine.placed(acts), selection)
    for u, bound in enumerate(bounds):
        held = selection.values[u, : int(selection.fill[u])].cpu()
        expected = values[values > bound]
        assert torch.equal(held.sort().values, expected.sort().values), f"bound {bound}"  # held in any order


@each_engine
def test_state_holds_no_more_than_it_must(engine: Engine):
    """A state that is sent between machines: at most the buffer's values, not all that were seen."""
    acts = engine.placed(make_acts((200, 2, 20, 20)))
    with engine.chosen() as backend:
        finder = ThresholdFinder(values_of(acts), 0.001, backend=backend)
        for begin in range(0, 200, 20):
            finder.update(acts[begin : begin + 20])
    k = reference.rank(0.001, values_of(acts))
    assert finder.state_dict()["values"].untyped_storage().nbytes() <= 2 * 4 * (2 * (k + 1) + 256)


@pytest.mark.parametrize(
    ("quantile", "n", "above"), [(0.29, 100, 29), ("0.29", 100, 29), (0.57, 100, 57), ("1/3", 99, 33)]
)
def test_exactly_k_values_exceed(quantile: object, n: int, above: int):
    assert (int(float(Fraction(str(quantile))) * n) == above) == (quantile == "1/3"), "floating point would do as well"
    acts = torch.randperm(n).float().view(1, 1, 1, n)
    assert (acts > quantile_thresholds(acts, quantile)).sum() == above


@given(activations(), quantiles)
def test_at_most_k_values_exceed(acts: Tensor, quantile: object):
    threshold = quantile_thresholds(acts, quantile)
    values = reference.finite_or_nan(acts).transpose(0, 1).flatten(1)
    k = reference.rank(quantile, values.shape[1])
    assert ((values > threshold[:, None]).sum(1) <= k).all()
    ranked = values.nan_to_num(nan=-torch.inf)
    assert ((ranked >= threshold[:, None]).sum(1) > k).all()


@pytest.mark.parametrize("quantile", [0.005, [0.5, 0.005]])
def test_no_value_above_warns(quantile: object):
    with pytest.warns(UserWarning, match=r"quantile 0\.005 of 199 values leaves none above the threshold"):
        ThresholdFinder(199, quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ThresholdFinder(200, quantile)


def test_largest_value_is_the_threshold_when_none_may_exceed():
    acts = make_acts((2, 3, 5, 5))
    assert torch.equal(quantile_thresholds(acts), acts.transpose(0, 1).flatten(1).amax(1))


# --- the function ---------------------------------------------------------------------------------------


def test_shapes_and_kinds():
    acts = make_acts((3, 4, 5, 5))
    assert quantile_thresholds(acts, 0.1).shape == (4,)
    assert quantile_thresholds(acts, [0.1]).shape == (1, 4)
    assert quantile_thresholds(acts, (0.1, 0.2)).shape == (2, 4)
    result = quantile_thresholds(acts.numpy(), 0.1)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    assert result.tolist() == reference.thresholds(acts, 0.1).tolist()


def test_no_units():
    assert quantile_thresholds(torch.zeros(2, 0, 3, 3), [0.1, 0.5]).shape == (2, 0)


def test_documented_equivalent():
    acts = make_acts((3, 4, 5, 5))
    k = int(0.1 * 75)
    assert torch.equal(
        quantile_thresholds(acts, 0.1), acts.transpose(0, 1).flatten(1).sort(1, descending=True).values[:, k]
    )


def test_empty_batches_change_nothing():
    acts = make_acts((3, 4, 5, 5))
    finder = ThresholdFinder(75, 0.1)
    for batch in (acts[:0], acts[:2], acts[2:2], acts[2:]):
        finder.update(batch)
    assert same_bits(finder.compute(), reference.thresholds(acts, 0.1))


def test_no_image_is_refused():
    with pytest.raises(InputError, match=r"acts: expected at least one image, found \[0, 4, 5, 5\]"):
        quantile_thresholds(torch.zeros(0, 4, 5, 5))


# --- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "quantile", [0, 1, -0.1, 1.5, True, float("nan"), float("inf"), "x", "1/0", None, [0.1, 2], [[0.1]]]
)
def test_quantile_is_refused(quantile: object):
    wrong = quantile[-1] if isinstance(quantile, list) else quantile
    for act in (lambda: check_quantile(quantile), lambda: ThresholdFinder(1000, quantile)):
        with pytest.raises(InputError, match="quantile: expected a number between 0 and 1, exclusive, found ") as error:
            act()
        assert repr(wrong) in str(error.value)


def test_no_quantile_is_refused():
    with pytest.raises(InputError, match="quantile: expected at least one, found none"):
        ThresholdFinder(1000, [])


@pytest.mark.parametrize("n_values", [0, -5, 2.5, True, None, "100"])
def test_n_values_is_refused(n_values: object):
    with pytest.raises(InputError, match="n_values: expected a positive whole number, found ") as error:
        ThresholdFinder(n_values)
    assert repr(n_values) in str(error.value)


@pytest.mark.parametrize("seen", [0, 1, 3])
def test_fewer_values_than_promised(seen: int):
    finder = ThresholdFinder(100, 0.1)
    if seen:
        finder.update(torch.zeros(seen, 2, 5, 5))
    with pytest.raises(InputError, match=f"n_values: expected 100 activations a unit, found {seen * 25}"):
        finder.compute()


def test_more_values_than_promised():
    acts = make_acts((4, 2, 5, 5))
    finder = ThresholdFinder(100, 0.1)
    finder.update(acts)
    with pytest.raises(InputError, match="acts: expected n_values = 100 activations a unit in all, found 125"):
        finder.update(acts[:1])
    assert same_bits(finder.compute(), reference.thresholds(acts, 0.1))


def test_more_values_than_promised_by_merging():
    finders = [ThresholdFinder(100, 0.1) for _ in range(2)]
    for finder in finders:
        finder.update(torch.zeros(3, 2, 5, 5))
    with pytest.raises(InputError, match="n_values: expected 100 activations a unit, found 150"):
        finders[0].merge(finders[1]).compute()


def test_other_units_are_refused():
    acts = make_acts((4, 2, 5, 5))
    finder = ThresholdFinder(100, 0.1)
    finder.update(acts[:3])
    with pytest.raises(InputError, match="acts: expected 2 units as before, found 3"):
        finder.update(torch.zeros(1, 3, 5, 5))
    other = ThresholdFinder(100, 0.1)
    other.update(torch.zeros(1, 3, 5, 5))
    with pytest.raises(InputError, match="merge: expected 2 units, found 3"):
        finder.merge(other)
    finder.update(acts[3:])
    assert same_bits(finder.compute(), reference.thresholds(acts, 0.1))


def test_another_device_is_refused():
    finder = ThresholdFinder(100, 0.1, backend="reference")
    finder.update(torch.zeros(1, 2, 5, 5))
    with pytest.raises(InputError, match="acts: expected device cpu as before, found meta"):
        finder.update(torch.zeros(1, 2, 5, 5, device="meta"))


@pytest.mark.parametrize("other", [(101, 0.1), (100, 0.2), (100, [0.1, 0.2])])
def test_merging_another_kind_is_refused(other: tuple):
    with pytest.raises(InputError, match="merge: expected n_values 100 and quantiles"):
        ThresholdFinder(100, 0.1).merge(ThresholdFinder(*other))


def test_dtype_is_refused():
    with pytest.raises(InputError, match=r"acts: expected float32, float16 or bfloat16, found float64"):
        quantile_thresholds(torch.zeros(1, 2, 5, 5, dtype=torch.float64))


def test_to_keeps_what_was_seen():
    acts = make_acts((4, 2, 5, 5))
    finder = ThresholdFinder(100, 0.1)
    assert finder.to("cpu") is finder
    finder.update(acts[:3])
    assert finder.to("cpu") is finder
    finder.update(acts[3:])
    assert same_bits(finder.compute(), reference.thresholds(acts, 0.1))


# --- non-finite values ------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("order", ["contiguous", "channels-last", "padded-rows"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_names_the_first_non_finite_map(dtype: str, order: str, engine: Engine):
    acts = make_acts((6, 20, 3, 3), DTYPES[dtype], order)
    acts[4, 3, 1, 1] = torch.nan
    acts[3, 19, 0, 0] = -torch.inf
    acts[3, 17, 2, 2] = torch.inf
    acts[5, 0, 0, 0] = torch.inf if dtype == "fp16" else 2.0**126
    with engine.chosen() as backend, threads(3):
        finder = ThresholdFinder(54, 0.1, backend=backend)
        finder.update(engine.placed(acts[:3]))
        assert finder.first_nonfinite() is None
        finder.update(engine.placed(acts[3:5]))
        finder.update(engine.placed(acts[5:]))
        assert finder.first_nonfinite() == (3, 17)
        assert same_bits(finder.compute(), reference.thresholds(acts, 0.1))


def test_merged_finders_number_their_images_on():
    finders = [ThresholdFinder(27, 0.1) for _ in range(2)]
    finders[0].update(torch.zeros(2, 2, 3, 3))
    finders[1].update(torch.full((1, 2, 3, 3), torch.nan))
    assert finders[0].merge(finders[1]).first_nonfinite() == (2, 0)


@pytest.mark.parametrize("way", ["merged", "restored"])
def test_images_are_numbered_on_from_another_finder(way: str):
    finder, other = (ThresholdFinder(36, 0.1) for _ in range(2))
    other.update(torch.zeros(2, 2, 3, 3))
    if way == "merged":
        finder.merge(other)
    else:
        finder.load_state_dict(other.state_dict())
    finder.update(torch.tensor([0.0, torch.nan]).view(2, 1, 1, 1).expand(2, 2, 3, 3))
    assert finder.first_nonfinite() == (3, 0)
