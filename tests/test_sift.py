"""Sifting on every engine, against the definition of a candidate and of a peak."""

import pytest
import torch
from engines import AVAILABLE, Engine, each_engine
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, NONFINITE, ORDERS, SPECIAL, SUBNORMAL, VALUES, make_acts
from torch import Tensor

from pydissect import reference
from pydissect.backends import choose_backend
from pydissect.candidates import LOWEST_FINITE, Candidates, Peaks

SHAPES = ((1, 1, 1, 1), (3, 5, 7, 5), (2, 70, 3, 3), (2, 33, 1, 9), (1, 2, 13, 13), (2, 3, 8, 8), (2, 3, 11, 67))


def wanted(acts: Tensor, bound: Tensor) -> Tensor:
    """Which values are above the bound or next to one that is: a shift for each of the nine."""
    hot = reference.finite_or_nan(acts) > bound[:, None, None]
    padded = torch.nn.functional.pad(hot, (1, 1, 1, 1))
    h, w = acts.shape[2:]
    near = torch.stack([padded[..., y : y + h, x : x + w] for y in range(3) for x in range(3)]).any(0)
    return near | (bound == -torch.inf)[:, None, None]


def bits(tensor: Tensor) -> Tensor:
    """The same bits as integers, so that NaN equals itself and -0.0 is not 0.0."""
    return tensor.contiguous().view(torch.int32 if tensor.itemsize == 4 else torch.int16)


def assert_candidates(found: Candidates, acts: Tensor, expected: Tensor) -> None:
    assert found.shape == tuple(acts.shape)
    assert [tensor.dtype for tensor in found.tensors()] == [torch.int64, torch.int32, acts.dtype]
    assert found.offsets.tolist() == [0, *expected.flatten(1).sum(1).cumsum(0).tolist()]
    assert torch.equal(found.places.cpu().long(), expected.flatten(1).nonzero()[:, 1])
    assert torch.equal(bits(found.values.cpu()), bits(acts[expected]))


def assert_peaks(found: Peaks, acts: Tensor, bound: Tensor) -> None:
    values = reference.finite_or_nan(acts).nan_to_num(nan=-torch.inf).flatten(2)
    for n in range(values.shape[0]):
        for u in range(values.shape[1]):
            largest = values[n, u].max()
            if largest > bound[u]:
                assert found.values[n, u] == largest
                assert int(found.places[n, u]) == int((values[n, u] == largest).nonzero()[0])
            else:
                assert found.values[n, u] == -torch.inf


def check(engine: Engine, acts: Tensor, bound: Tensor, peak_bound: Tensor, higher: Tensor) -> None:
    with engine.chosen() as name:
        backend = choose_backend(name, engine.device)
        on_device = engine.placed(acts)
        candidates, peaks = backend.sift(on_device, bound.to(engine.device), peak_bound.to(engine.device))
        assert_candidates(candidates, acts, wanted(acts, bound))
        assert_peaks(Peaks(peaks.values.cpu(), peaks.places.cpu()), acts, peak_bound)

        pruned = backend.prune(candidates, higher.to(engine.device))
        assert_candidates(pruned, acts, wanted(acts, higher))

        spread = backend.spread(candidates).cpu()
        assert spread.is_contiguous()
        lowest = torch.tensor(LOWEST_FINITE[acts.dtype], dtype=acts.dtype)
        assert torch.equal(bits(spread), bits(torch.where(wanted(acts, bound), acts, lowest)))


@each_engine
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_orders(dtype: str, order: str, engine: Engine):
    for seed, shape in enumerate(SHAPES):
        generator = torch.Generator().manual_seed(seed)
        acts = make_acts(shape, DTYPES[dtype], order, "ties" if seed % 2 else "normal", SPECIAL + NONFINITE, seed)
        bound = torch.randint(-2, 4, (shape[1],), generator=generator) / 2
        bound[::3] = -torch.inf if seed % 3 == 0 else 0.5
        peak_bound = torch.randint(-2, 4, (shape[1],), generator=generator) / 2
        peak_bound[1::2] = -torch.inf
        check(engine, acts, bound, peak_bound, torch.where(bound == -torch.inf, bound, bound + 0.5))


@each_engine
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_nothing(shape: tuple[int, ...], engine: Engine):
    bound = torch.zeros(shape[1])
    check(engine, torch.zeros(shape), bound, bound, bound)


@each_engine
@pytest.mark.parametrize("bound", [-(2.0**126) * (1 - 2**-24), 2.0**126 * (1 - 2**-24), -0.0, 0.0, torch.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_bounds(dtype: str, bound: float, engine: Engine):
    acts = make_acts((2, 4, 6, 5), DTYPES[dtype], "contiguous", "normal", SPECIAL + NONFINITE)
    bounds = torch.full((4,), bound)
    check(engine, acts, bounds, bounds, bounds)


@pytest.mark.parametrize("engine", [engine for engine in AVAILABLE if engine.backend == "cpu"], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_when_the_caller_flushes_them(dtype: str, engine: Engine, request: pytest.FixtureRequest):
    acts = make_acts((2, 5, 6, 5), DTYPES[dtype], "channels-last", SUBNORMAL)
    bound = acts.float().transpose(0, 1).flatten(1).sort(1, descending=True).values[:, 6].contiguous()
    expected = wanted(acts, bound)
    request.getfixturevalue("flush_denormals")
    with engine.chosen() as name:
        candidates, _ = choose_backend(name, engine.device).sift(acts, bound, bound)
        pruned = choose_backend(name, engine.device).prune(candidates, bound)
    for found in (candidates, pruned):
        assert torch.equal(found.places.long(), expected.flatten(1).nonzero()[:, 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_lowest_finite_value(dtype: str):
    """It is finite, and no finite value of the dtype lies below it."""
    lowest = torch.tensor(LOWEST_FINITE[DTYPES[dtype]], dtype=DTYPES[dtype])
    below = (bits(lowest[None]) + 1).view(DTYPES[dtype])
    assert not reference.finite_or_nan(lowest).isnan()
    assert reference.finite_or_nan(below).isnan().all()


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = tuple(draw(st.integers(1, most)) for most in (3, 40, 12, 12))
    special = draw(st.sampled_from([(), SPECIAL, SPECIAL + NONFINITE]))
    choices = (draw(st.sampled_from(sorted(choices))) for choices in (DTYPES, ORDERS, VALUES))
    dtype, order, values = choices
    seed = draw(st.integers(0, 2**16))
    acts = make_acts(shape, DTYPES[dtype], order, values, special, seed)
    generator = torch.Generator().manual_seed(seed)

    def bounds() -> Tensor:
        chosen = torch.randn(shape[1], generator=generator)
        return torch.where(torch.rand(shape[1], generator=generator) < 0.2, -torch.inf, chosen)

    bound = bounds()
    higher = bound + torch.rand(shape[1], generator=generator)
    return acts, bound, bounds(), higher


@pytest.mark.parametrize("engine", AVAILABLE, ids=str)
@given(case=cases())
def test_any_batches(case: tuple[Tensor, Tensor, Tensor, Tensor], engine: Engine):
    check(engine, *case)
