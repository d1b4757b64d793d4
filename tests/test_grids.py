"""Sampling tables against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import receptive_fields

from pydissect.errors import InputError
from pydissect.grids import Grid, ReceptiveField, axis_table, check_grid, parse_grid

LARGEST = 1 - Fraction(1, 2**22)
sizes = st.integers(1, 300)


def fp32(value: Fraction) -> np.float32:
    """The nearest fp32, found by comparing exact distances; ties go to the even one."""
    near = np.float32(float(value))
    candidates = [near, np.nextafter(near, np.float32(-9)), np.nextafter(near, np.float32(9))]
    return min(candidates, key=lambda c: (abs(Fraction(float(c)) - value), int(c.view(np.int32)) & 1))


def exact_place(grid: str, i: int, source: int, output: int) -> Fraction:
    """Where output pixel ``i`` lies among the source values, as ``F.interpolate`` defines it."""
    if grid == "half_pixel":
        return max((i + Fraction(1, 2)) * Fraction(source, output) - Fraction(1, 2), Fraction(0))
    return Fraction(i * (source - 1), output - 1) if output > 1 else Fraction(0)


def exact_entry(place: Fraction, source: int) -> tuple[int, np.float32]:
    if place >= source - 1:
        return source - 1, np.float32(0)
    index = math.floor(place)
    fraction = fp32(place - index)
    return (index + 1, np.float32(0)) if Fraction(float(fraction)) > LARGEST else (index, fraction)


@given(st.sampled_from(["half_pixel", "align_corners"]), sizes, sizes)
def test_integer_grids_are_exact(grid: str, source: int, output: int):
    index, fraction = axis_table(grid, source, output, 0)
    expected = [exact_entry(exact_place(grid, i, source, output), source) for i in range(output)]
    assert index.tolist() == [entry[0] for entry in expected]
    assert fraction.tobytes() == np.array([entry[1] for entry in expected], np.float32).tobytes()


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    return draw(st.one_of(st.sampled_from(["half_pixel", "align_corners"]), receptive_fields((112, 56))))


@given(grids(), sizes, sizes, st.sampled_from([0, 1]))
def test_tables_keep_their_promises(grid: Grid, source: int, output: int, axis: int):
    index, fraction = axis_table(grid, source, output, axis)
    assert index.dtype == np.int32
    assert fraction.dtype == np.float32
    assert index.shape == fraction.shape == (output,)
    assert (index >= 0).all()
    assert (index < source).all()
    assert (fraction >= 0).all()
    assert not np.signbit(fraction).any()
    assert all(Fraction(float(f)) <= LARGEST for f in fraction)
    assert (fraction[index == source - 1] == 0).all()
    assert (np.diff(index) >= 0).all()
    places = index.astype(np.float64) + fraction
    assert (np.diff(places) >= 0).all()


@given(receptive_fields((96, 64)), sizes, sizes, st.sampled_from([0, 1]))
def test_receptive_fields_follow_the_formula(grid: ReceptiveField, source: int, output: int, axis: int):
    offset, stride, image = (
        value[axis] if isinstance(value, tuple) else value for value in (grid.offset, grid.stride, grid.image)
    )
    index, fraction = axis_table(grid, source, output, axis)
    for i in range(output):
        # Python's floats are float64, in which the formula is defined.
        place = min(max(((i + 0.5) * image / output - 0.5 - offset) / stride, 0.0), source - 1.0)
        assert (index[i], fraction[i]) == exact_entry(Fraction(place), source)


def test_a_unit_lies_at_its_centre():
    index, fraction = axis_table(ReceptiveField(5, 4, 40), 6, 40, 0)
    assert [(index[5 + 4 * unit], fraction[5 + 4 * unit]) for unit in range(6)] == [(unit, 0) for unit in range(6)]
    assert (index[:5] == 0).all()
    assert (fraction[:5] == 0).all()
    assert (index[5 + 4 * 5 :] == 5).all()
    assert (index[6], fraction[6]) == (0, 0.25)


def test_receptive_field_of_each_axis():
    grid = ReceptiveField((1, 3), (2, 4), (16, 32))
    for axis, plain in enumerate([ReceptiveField(1, 2, 16), ReceptiveField(3, 4, 32)]):
        for mine, theirs in zip(axis_table(grid, 8, 24, axis), axis_table(plain, 8, 24, axis), strict=True):
            assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("source", [1, 2, 7, 16])
def test_half_pixel_is_a_receptive_field(source: int):
    output = 4 * source
    grid = ReceptiveField((output / source - 1) / 2, output / source, output)
    for mine, theirs in zip(
        axis_table(grid, source, output, 0), axis_table("half_pixel", source, output, 0), strict=True
    ):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("fraction", "entry"),
    [
        (1 - 2.0**-22, (0, 1 - 2.0**-22)),
        (1 - 2.0**-23, (1, 0.0)),
        (1 - 2.0**-30, (1, 0.0)),  # rounds to 1 in fp32
        (2.0**-30, (0, 2.0**-30)),
    ],
    ids=["1-2**-22 stays", "1-2**-23 goes up", "1-2**-30 goes up", "2**-30 stays"],
)
def test_fractions_just_below_one_go_up(fraction: float, entry: tuple[int, float]):
    # The only pixel of a one-pixel image lies at 0 - offset.
    index, fractions = axis_table(ReceptiveField(-fraction, 1, 1), 3, 1, 0)
    assert (index[0], fractions[0]) == entry


def test_a_pixel_on_the_last_value_has_no_right_neighbour():
    index, fraction = axis_table("align_corners", 4, 7, 0)
    assert (index[-1], fraction[-1]) == (3, 0)
    assert index.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert fraction.tolist() == [0, 0.5, 0, 0.5, 0, 0.5, 0]


@pytest.mark.parametrize("text", ["half_pixel", "align_corners"])
def test_parse_names(text: str):
    assert parse_grid(text, (224, 224)) == text


def test_parse_receptive_field():
    assert parse_grid("receptive_field:5,16", (224, 192)) == ReceptiveField(5.0, 16.0, (224, 192))
    assert parse_grid("receptive_field:-2.5,8", (224, 192)) == ReceptiveField(-2.5, 8.0, (224, 192))


def test_printed_receptive_field_can_be_parsed():
    grid = ReceptiveField(-2.5, 16.0, (224, 192))
    text, image = str(grid).split(" of ")
    assert image == "224x192"
    assert parse_grid(text, (224, 192)) == grid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "halfpixel",
        "HALF_PIXEL",
        "receptive_field",
        "receptive_field:",
        "receptive_field:5",
        "receptive_field:5,",
        "receptive_field:5,16,224",
        "receptive_field:5;16",
        "receptive_field:a,16",
        "receptive_field:5,0",
        "receptive_field:5,-16",
        "receptive_field:nan,16",
        "receptive_field:5,inf",
    ],
)
def test_parse_refuses(text: str):
    with pytest.raises(InputError, match=r"grid: .*") as error:
        parse_grid(text, (224, 224))
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("5", 16, 224), "offset must be a number or a pair (y, x) of them, found '5'"),
        (((1, 2, 3), 16, 224), "offset must be a number or a pair (y, x) of them, found (1, 2, 3)"),
        ((math.nan, 16, 224), "offset must be a number or a pair (y, x) of them, found nan"),
        ((5, (16, 0), 224), "stride must be a positive number or a pair (y, x) of them, found (16, 0)"),
        ((5, True, 224), "stride must be a positive number or a pair (y, x) of them, found True"),
        ((5, 16, -1), "image must be a positive number or a pair (y, x) of them, found -1"),
        ((5, 16, math.inf), "image must be a positive number or a pair (y, x) of them, found inf"),
    ],
)
def test_receptive_field_refuses(arguments: tuple, part: str):
    with pytest.raises(InputError) as error:
        ReceptiveField(*arguments)
    assert part in str(error.value)


def test_receptive_field_takes_lists():
    assert ReceptiveField([1, 2], 16, [224, 192]) == ReceptiveField((1, 2), 16, (224, 192))
    assert hash(ReceptiveField([1, 2], 16, 224)) == hash(ReceptiveField((1, 2), 16, 224))


@pytest.mark.parametrize("grid", ["nearest", None, 3, ("half_pixel",)])
def test_check_grid_refuses(grid: object):
    with pytest.raises(InputError, match="grid: expected 'half_pixel', 'align_corners' or a ReceptiveField") as error:
        check_grid(grid)
    assert repr(grid) in str(error.value)
    with pytest.raises(InputError, match="grid: expected"):
        axis_table(grid, 3, 3, 0)
