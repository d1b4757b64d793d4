"""What is the CUDA selection's own: how a block reads and prunes, run on the host. Else see test_thresholds.py."""

import pytest
import torch
from cuda_host import CudaHost
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, NONFINITE, ORDERS, SPECIAL, VALUES, make_acts
from torch import Tensor

from pydissect import reference
from pydissect.backends import Selection
from pydissect.backends.cuda_launch import UNITS
from pydissect.backends.cuda_launch import VALUES as ONE_UNIT
from pydissect.backends.cuda_select import select_launch
from pydissect.backends.gpu import no_image
from pydissect.backends.reference import first_nonfinite
from pydissect.errors import InputError

CPU = torch.device("cpu")


def empty(units: int, keep: int, capacity: int) -> Selection:
    return Selection(
        values=torch.full((units, capacity), torch.nan),
        fill=torch.zeros(units, dtype=torch.int64),
        bound=torch.full((units,), -torch.inf),
        keep=keep,
    )


def check(selection: Selection, seen: Tensor) -> None:
    """What is held agrees with the bounds, and the largest of it are the largest of all that were seen."""
    values = reference.finite_or_nan(seen).transpose(0, 1).flatten(1)
    for u, (bound, fill) in enumerate(zip(selection.bound, selection.fill.tolist(), strict=True)):
        held, mine = selection.values[u, :fill].sort(descending=True).values, values[u][~values[u].isnan()]
        largest = mine.sort(descending=True).values[: selection.keep]
        assert torch.equal(held[: selection.keep], largest)
        assert torch.equal(held[held > bound].sort().values, mine[mine > bound].sort().values)
        assert (held >= bound).all()


def select(acts: Tensor, keep: int, capacity: int, threads: int = 128) -> Selection:
    selection = empty(acts.shape[1], keep, capacity)
    place = CudaHost(threads=threads).select(acts, selection)
    assert int(place) == int(first_nonfinite(acts))
    check(selection, acts)
    return selection


@given(
    st.tuples(st.integers(1, 9), st.sampled_from([1, 2, 7, 17, 40]), st.integers(1, 9), st.integers(1, 20)),
    st.sampled_from(list(DTYPES.values())),
    st.sampled_from(list(ORDERS)),
    st.sampled_from([*VALUES, "subnormal"]),
    st.lists(st.sampled_from(SPECIAL + NONFINITE), max_size=3, unique=True),
    st.integers(1, 200),
    st.sampled_from([1, 2, 30, 256]),
    st.sampled_from([32, 64, 256, 512]),
    st.integers(0, 2**32),
)
def test_any_buffer(
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    order: str,
    values: str,
    special: list[str],
    keep: int,
    slack: int,
    threads: int,
    seed: int,
):
    """However small, and in two batches."""
    acts = make_acts(shape, dtype, order, values, special, seed)
    selection = empty(shape[1], keep, keep + slack)
    host, cut = CudaHost(threads=threads), shape[0] // 2
    for part in (acts[:cut], acts[cut:]):
        host.select(part, selection)
    check(selection, acts)


@pytest.mark.parametrize("order", ["contiguous", "channels-last"])
def test_batches_of_many_rounds(order: str):
    """Of 512 threads with 16 values each, on maps that are larger and smaller than what they read at once."""
    for shape in ((2, 3, 112, 112), (900, 3, 5, 5)):
        select(make_acts(shape, torch.float16, order), keep=100, capacity=356, threads=512)


@pytest.mark.parametrize("offset", range(8))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["contiguous", "channels-last", "padded-rows"])
def test_wide_loads_at_any_address(order: str, dtype: str, offset: int):
    """Storage around the maps is NaN, which must be neither taken nor noted."""
    acts = make_acts((2, 19, 3, 5), DTYPES[dtype], order)
    last = sum((size - 1) * stride for size, stride in zip(acts.shape, acts.stride(), strict=True))
    storage = torch.full((last + 17,), torch.nan, dtype=acts.dtype)
    view = storage.as_strided(acts.shape, acts.stride(), offset)
    view.copy_(acts)
    select(view, keep=30, capacity=30)


@pytest.mark.parametrize("order", ["contiguous", "channels-last"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_nothing_beyond_the_tensor(dtype: str, order: str):
    """As ``make sanitize`` sees it: storage that ends with the last value, at an address that 16 does not divide."""
    acts = make_acts((3, 3, 3, 5), DTYPES[dtype], order)
    select(acts[1:], keep=10, capacity=12)
    select(acts[:, :1].clone(), keep=10, capacity=12)


@pytest.mark.parametrize("order", ["contiguous", "channels-last"])
def test_notes_a_non_finite_value_anywhere(order: str):
    for place in range(2 * 19 * 15):
        acts = make_acts((2, 19, 3, 5), values="dead")
        acts.view(-1)[place] = -torch.inf
        selection = empty(19, 5, 261)
        assert int(CudaHost().select(ORDERS[order](acts), selection)) == place // 15


@pytest.mark.parametrize("order", ["contiguous", "channels-last"])
def test_a_value_is_compared_with_its_own_unit(order: str):
    for place in range(19 * 15):
        acts = make_acts((1, 19, 3, 5), values="dead")
        acts.view(-1)[place] = 1.0
        selection = empty(19, 5, 261)
        selection.bound.fill_(2.0)
        selection.bound[place // 15] = 0.5
        CudaHost().select(ORDERS[order](acts), selection)
        assert selection.fill.nonzero().flatten().tolist() == [place // 15]
        assert selection.values[place // 15, 0] == 1.0


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("contiguous", (ONE_UNIT, 1, 1, 35)),
        ("transposed", (ONE_UNIT, 1, 1, 35)),
        ("padded-rows", (ONE_UNIT, 5, 1, 7)),
        ("channels-last", (UNITS, 1, 35, 8)),
        ("gaps", (ONE_UNIT, 5, 7, 1)),
        ("expanded-columns", (ONE_UNIT, 5, 7, 1)),
        ("images-innermost", (ONE_UNIT, 1, 35, 1)),
    ],
)
def test_runs_are_as_long_as_can_be(order: str, expected: tuple[int, int, int, int]):
    acts = make_acts((2, 19, 5, 7), order=order)
    fields = select_launch(acts, empty(19, 5, 261), no_image(CPU)).fields
    assert tuple(fields[name] for name in ("order", "rows", "columns", "run")) == expected


def test_aligned_runs_take_no_piece_more():
    for side, pieces in ((8, 16), (7, 14)):  # 49 values at any address touch at most so many
        acts = make_acts((2, 4, side, side))
        assert select_launch(acts, empty(4, 5, 261), no_image(CPU)).fields["image_pieces"] == pieces - (side == 7)


def test_what_is_too_large_is_refused():
    images = torch.zeros(1).expand(2**30 + 1, 1, 1, 1)
    with pytest.raises(InputError, match=r"acts: 1073741825 images with maps of 1 x 1 are too large for this backend"):
        CudaHost().select(images, empty(1, 5, 261))
    large = Selection(torch.zeros(1).expand(1, 2**30 + 1), torch.zeros(1, dtype=torch.int64), torch.zeros(1), 2**29)
    with pytest.raises(InputError, match=r"quantile: 1073741825 values to be held for each unit are too many"):
        CudaHost().select(make_acts((1, 1, 2, 2)), large)
