"""What is the CUDA kernel's own: how it splits the work, run on the host. All other cases are in test_count.py."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from cuda_host import LIMITS, CudaHost
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, ORDERS, SUBNORMAL, Case, cases, make_acts, make_case

from pydissect import reference
from pydissect.backends import NO_IMAGE, CountArguments, Sums, cuda_launch
from pydissect.backends.cuda_launch import Limits, sampling
from pydissect.backends.reference import first_nonfinite
from pydissect.errors import InputError
from pydissect.grids import AxisTable, ReceptiveField, axis_table


def run(case: Case, host: CudaHost) -> dict[str, int]:
    """Compares with the reference; returns the launch's numbers."""
    levels, units = case.threshold.shape
    sums = Sums.zeros(levels, units, case.packed.num_concepts, len(case.categories), torch.device("cpu"))
    arguments = CountArguments(case.acts, case.packed, case.threshold.contiguous(), case.grid, nonfinite_off=True)
    found = host.count(arguments, sums)
    for name, mine in vars(sums).items():
        theirs = getattr(case.expected, name)
        assert torch.equal(mine, theirs), f"{name} differs at {(mine != theirs).nonzero().tolist()[:5]}"
    assert int(found) == int(first_nonfinite(case.acts))
    return host.launch(arguments, sums, torch.tensor(NO_IMAGE)).fields


limits = st.builds(
    Limits,
    shared_bytes_a_block=st.sampled_from([99 * 1024, 227 * 1024]),
    shared_bytes=st.sampled_from([0, 24 * 1024, 100 * 1024, 228 * 1024]),
    multiprocessors=st.sampled_from([1, 4, 132]),
)


@given(cases(), limits, st.sampled_from([32, 64, 256, 512]))
def test_any_split(case: Case, limits: Limits, threads: int):
    run(case, CudaHost(limits, threads))


@pytest.mark.parametrize("shared_bytes", [0, 20 * 1024, 100 * 1024])
def test_masks_beyond_shared_memory_are_read_where_they_are(shared_bytes: int):
    case = make_case(concepts=70, present=(70, 35), size=(31, 45), whole=False)
    fields = run(case, CudaHost(replace(LIMITS, shared_bytes=shared_bytes), 64))
    if shared_bytes == 0:
        assert fields["staged"] == 0
    elif shared_bytes == 20 * 1024:
        assert 0 < fields["staged"] < 35
    else:
        assert fields["staged"] == 70


@pytest.mark.parametrize("order", ORDERS)
def test_bands_of_a_large_map(order: str, monkeypatch: pytest.MonkeyPatch):
    """Maps whose hot values' bits do not fit are counted by bands of source rows."""
    monkeypatch.setattr(cuda_launch, "_MOST_BITS", 2**10)
    case = make_case(units=2, images=2, map_size=(500, 5), size=(600, 70), concepts=2, order=order, levels=("pixel",))
    assert run(case, CudaHost())["bands"] == 3


def test_a_value_on_the_first_row_of_a_band(monkeypatch: pytest.MonkeyPatch):
    """Of pixels in the band above it, it is the lower neighbour."""
    monkeypatch.setattr(cuda_launch, "_MOST_BITS", 2**10)
    acts, size = torch.zeros(1, 1, 300, 5), (600, 70)
    masks, threshold = torch.ones(1, 1, *size, dtype=torch.bool), torch.full((1, 1), 0.125)
    fields = run(Case(acts, masks, threshold), CudaHost())
    assert fields["bands"] == 2
    acts[0, 0, fields["band"]] = 1.0
    case = Case(acts, masks, threshold)
    assert case.expected.unit_area_all.item() == 4 * size[1]
    run(case, CudaHost())


def test_a_full_list_is_counted_and_begun_again():
    """100 pixel rows between two source rows, at several levels: more words than a warp lists."""
    case = make_case(map_size=(2, 3), size=(200, 33), values="alive", levels=("0.0", "pixel", "-inf"))
    run(case, CudaHost())


def test_maps_that_two_pieces_of_the_hot_bits_share():
    case = make_case(units=100, images=1, map_size=(30, 30), size=(60, 60), concepts=2, levels=("value", "pixel"))
    assert run(case, CudaHost())["pieces"] > 1


GRIDS = {
    "half_pixel": "half_pixel",
    "align_corners": "align_corners",
    "receptive_field": ReceptiveField(offset=(3.0, -7.0), stride=(11.0, 6.5), image=(64, 80)),
}
RESIZES = (
    ((1, 1), (9, 150)),  # a cell of more than 64 pixels
    ((2, 3), (5, 200)),
    ((3, 2), (70, 97)),
    ((7, 7), (112, 112)),  # runs of pixels that cross from word to word
    ((13, 13), (113, 112)),  # masks of an odd number of 16 bits
    ((5, 9), (33, 48)),
    ((40, 50), (7, 9)),  # cells without a pixel
    ((3, 200), (5, 33)),
    ((9, 40), (40, 9)),
)


@pytest.mark.parametrize("values", ["normal", "ties", SUBNORMAL])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("source", "size"), RESIZES)
def test_cells_of_any_size(source: tuple[int, int], size: tuple[int, int], grid: str, values: str):
    case = make_case(
        map_size=source,
        size=size,
        values=values,
        special=("nan", "-inf", "-0.0", "smallest", "largest"),
        levels=("pixel", "below-pixel", "value"),
        grid=GRIDS[grid],
    )
    run(case, CudaHost())


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    "corners", [(0, 1, 0, 1), (1, 0, 1, 0), (0, 1, 1, 0), (1, 1, 0, 0), (0, 0, 1, 1), (1, 1, 1, 1)], ids=str
)
def test_every_pixel_as_a_threshold(corners: tuple[int, ...], grid: str):
    """And the number below it: where rows rise, fall, or stay as they are, none is lost and none is added."""
    size = (7, 70)
    generator = torch.Generator().manual_seed(0)
    one = torch.tensor(corners, dtype=torch.float32).view(1, 1, 2, 2) + torch.rand(1, 1, 2, 2, generator=generator) / 4
    pixels = reference.upsample(one, size, GRIDS[grid]).flatten()
    below = torch.nextafter(pixels, torch.tensor(-torch.inf))
    acts = one.expand(1, len(pixels), 2, 2).contiguous()
    run(Case(acts, torch.ones(1, 1, *size, dtype=torch.bool), torch.stack([pixels, below]), GRIDS[grid]), CudaHost())


@pytest.mark.parametrize("offset", range(8))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["contiguous", "channels-last"])
def test_wide_loads_at_any_address(order: str, dtype: str, offset: int):
    """Storage around the maps is NaN, which must be neither read nor noted."""
    acts = make_acts((2, 19, 3, 5), DTYPES[dtype], order)
    storage = torch.full((acts.numel() + 16,), torch.nan, dtype=acts.dtype)
    view = storage.as_strided(acts.shape, acts.stride(), offset)
    view.copy_(acts)
    case = make_case(units=19, map_size=(3, 5), size=(12, 20))
    run(replace(case, acts=view), CudaHost())
    assert not case.nonfinite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", range(0, 2 * 19 * 15, 3))
def test_notes_a_non_finite_value_anywhere(place: int, dtype: str):
    acts = make_acts((2, 19, 3, 5), DTYPES[dtype], values="dead")
    acts.view(-1)[place] = -torch.inf
    run(Case(acts, torch.ones(2, 1, 6, 10, dtype=torch.bool), torch.zeros(1, 19)), CudaHost())


@pytest.mark.parametrize("place", range(19 * 15))
def test_a_value_is_compared_with_its_own_unit(place: int):
    """One wide load may reach into the next map, whose level is another."""
    acts, threshold = make_acts((1, 19, 3, 5), values="dead"), torch.full((1, 19), torch.inf)
    acts.view(-1)[place] = 1.0
    threshold[0, place // 15] = 0.0
    run(Case(acts, torch.ones(1, 1, 6, 10, dtype=torch.bool), threshold), CudaHost())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_decodes_every_half(dtype: torch.dtype):
    """All 65,536, each as a map, against its own value and the one below it."""
    acts = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).view(1, -1, 1, 1)
    values = acts.float().flatten().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    below = torch.nextafter(values, torch.tensor(-torch.inf))
    case = Case(acts, torch.ones(1, 1, 1, 1, dtype=torch.bool), torch.stack([values, below]))
    run(case, CudaHost(replace(LIMITS, multiprocessors=132)))
    assert case.expected.unit_area_all[0].sum() == 0
    assert case.expected.unit_area_all[1].sum() > 60_000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_half_is_above_the_number_below_it(dtype: torch.dtype):
    """All of them, alone in a map: the level is rounded to a half before many are compared with it at once."""
    halves = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    values = reference.finite_or_nan(halves.float())
    lowest, *rest = values[~values.isnan()].unique()
    values = torch.stack(rest)
    acts = lowest.to(dtype).repeat(1, len(values), 4, 4)
    acts[0, torch.arange(len(values)), 1, 2] = values.to(dtype)
    below = torch.nextafter(values, torch.tensor(-torch.inf))
    case = Case(acts, torch.ones(1, 1, 4, 4, dtype=torch.bool), below[None])
    run(case, CudaHost(replace(LIMITS, multiprocessors=132)))
    assert (case.expected.unit_area_all == 1).all()


def test_what_cannot_fit_is_refused():
    case = make_case(images=1, units=1, concepts=1, map_size=(1, 1), size=(1, 32))
    with pytest.raises(InputError, match=r"acts: maps of 1 x 1 with masks of 1 x 32 are too large for this backend"):
        run(case, CudaHost(Limits(1000, 2000, 1)))


@given(cases())
def test_tables_lead_to_the_pixels_of_a_cell(case: Case):
    """Against the definition, pixel by pixel."""
    source, size = tuple(case.acts.shape[2:]), tuple(case.masks.shape[2:])
    where = sampling(case.grid, source, size, torch.device("cpu"))
    axes = (
        (where.tables.first_rows, where.tables.row_fractions, where.row_step),
        (where.tables.first_columns, where.tables.column_fractions, where.column_step),
    )
    for axis, (firsts, fractions, step) in enumerate(axes):
        table = axis_table(case.grid, source[axis], size[axis], axis)
        assert firsts[0] == 0
        for i, (first, end) in enumerate(pairwise(firsts.tolist())):
            assert table.indices[first:end].tolist() == [i] * (end - first)
            assert end - first < 2 * step
        assert fractions.tolist() == [*table.fractions.tolist(), *[0.0] * step]


def test_fractions_that_fall_are_refused():
    """The search for a row's first or last pixel above a level would go wrong."""
    table = AxisTable(np.array([0, 0, 1], np.int32), np.array([0.5, 0.25, 0.0], np.float32))
    with pytest.raises(AssertionError, match="expected fractions that do not fall"):
        cuda_launch._first_pixels(table, 2)
