"""What every backend is tested on: one way to make cases, named or drawn by hypothesis.

A case is made from a few plain choices and a seed, so that hypothesis shrinks the choices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from hypothesis import strategies as st
from torch import Tensor

from pydissect import reference
from pydissect.categories import Categories
from pydissect.counts import Counts
from pydissect.grids import Grid, ReceptiveField
from pydissect.masks import PackedMasks

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# --- the order of the values in memory ----------------------------------------------------------


def _inside(acts: Tensor, *widths: int, steps: Sequence[int] = (1, 1, 1, 1)) -> Tensor:
    """The same values in a larger storage full of NaN, which nothing may read."""
    sizes = [size * step + width for size, step, width in zip(acts.shape, steps, widths, strict=True)]
    storage = torch.full(sizes, torch.nan, dtype=acts.dtype)
    view = storage[tuple(slice(0, size * step, step) for size, step in zip(acts.shape, steps, strict=True))]
    return view.copy_(acts)


def _offset(acts: Tensor) -> Tensor:
    storage = torch.full((acts.numel() + 3,), torch.nan, dtype=acts.dtype)
    storage[3:] = acts.flatten()
    return storage[3:].view(acts.shape)


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels-last": lambda acts: acts.contiguous(memory_format=torch.channels_last),
    "transposed": lambda acts: acts.transpose(2, 3).contiguous().transpose(2, 3),
    "images-innermost": lambda acts: acts.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "gaps": lambda acts: _inside(acts, 1, 0, 1, 2, steps=(1, 2, 1, 2)),
    "padded-rows": lambda acts: _inside(acts, 0, 0, 0, 3),
    "offset": _offset,
    "expanded-units": lambda acts: acts[:, :1].expand_as(acts) if acts.shape[1] else acts,
    "expanded-columns": lambda acts: acts[..., :1].expand_as(acts),
}

# --- values --------------------------------------------------------------------------------------

LARGEST_FINITE = {
    torch.float32: torch.tensor(0x7E7FFFFF, dtype=torch.int32).view(torch.float32),
    torch.bfloat16: torch.tensor(0x7E7F, dtype=torch.int16).view(torch.bfloat16),
    torch.float16: torch.tensor(65504, dtype=torch.float16),
}
"""The largest magnitude below 2**126."""


def _subnormals(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    integer, bits, sign = {
        torch.float32: (torch.int32, 23, -(2**31)),
        torch.float16: (torch.int16, 10, -(2**15)),
        torch.bfloat16: (torch.int16, 7, -(2**15)),
    }[dtype]
    magnitude = torch.randint(0, 2**bits, shape, generator=generator)
    negative = torch.rand(shape, generator=generator) < 0.3
    return torch.where(negative, magnitude + sign, magnitude).to(integer).view(dtype)


VALUES: dict[str, Callable[..., Tensor]] = {
    "normal": lambda shape, generator: torch.randn(shape, generator=generator),
    "sparse": lambda shape, generator: (torch.randn(shape, generator=generator) - 1.5).relu(),
    "dead": lambda shape, generator: -torch.rand(shape, generator=generator),
    "alive": lambda shape, generator: 1 + torch.rand(shape, generator=generator),
    "ties": lambda shape, generator: torch.randint(-2, 3, shape, generator=generator) / 2,
}
SUBNORMAL = "subnormal"

SPECIAL = ("-0.0", "smallest", "largest")
NONFINITE = ("nan", "inf", "-inf", "2**126", "-2**127")


def _special(name: str, dtype: torch.dtype) -> Tensor:
    if name == "largest":
        return LARGEST_FINITE[dtype]
    if name == "smallest":
        integer = torch.int32 if dtype == torch.float32 else torch.int16
        return torch.tensor(1, dtype=integer).view(dtype)
    value = {"2**126": 2.0**126, "-2**127": -(2.0**127)}.get(name)
    return torch.tensor(float(name) if value is None else value).to(dtype)


def make_acts(
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    order: str = "contiguous",
    values: str = "normal",
    special: Sequence[str] = (),
    seed: int = 0,
) -> Tensor:
    """Activations; about one in twelve is one of the ``special`` values."""
    generator = torch.Generator().manual_seed(seed)
    if values == SUBNORMAL:
        acts = _subnormals(shape, dtype, generator)
    else:
        acts = VALUES[values](tuple(shape), generator).to(dtype)
    if special:
        table = torch.stack([_special(name, dtype) for name in special])
        chosen = table[torch.randint(0, len(table), tuple(shape), generator=generator)]
        acts = torch.where(torch.rand(tuple(shape), generator=generator) < 1 / 12, chosen, acts)
    return ORDERS[order](acts)


# --- masks ---------------------------------------------------------------------------------------


def make_masks(
    images: int,
    concepts: int,
    size: tuple[int, int],
    present: Sequence[int] | None = None,
    whole: bool = True,
    seed: int = 0,
) -> Tensor:
    """Bool masks: rectangles, dust, single pixels, full images; image ``n`` carries ``present[n]`` of the concepts."""
    generator = torch.Generator().manual_seed(seed + 1)

    def integer(limit: int) -> int:
        return int(torch.randint(0, limit, (), generator=generator))

    masks = torch.zeros((images, concepts, *size), dtype=torch.bool)
    for n in range(images):
        count = concepts if present is None else min(present[n], concepts)
        for concept in torch.randperm(concepts, generator=generator)[:count].tolist():
            kind, (y, x) = integer(8 if whole else 7), (integer(size[0]), integer(size[1]))
            if kind < 3:
                masks[n, concept, y : y + 1 + integer(size[0]), x : x + 1 + integer(size[1])] = True
            elif kind < 6:
                masks[n, concept] = torch.rand(size, generator=generator) < torch.rand((), generator=generator)
            elif kind == 6:
                masks[n, concept, y, x] = True
            else:
                masks[n, concept] = True
    return masks


# --- thresholds ----------------------------------------------------------------------------------

LEVELS = ("value", "pixel", "below-pixel", "quantile", "number", "0.0", "-0.0", "-inf", "inf", "1e-44")


def make_threshold(acts: Tensor, size: tuple[int, int], grid: Grid, levels: Sequence[str], seed: int = 0) -> Tensor:
    """``[L, U]``. A ``pixel`` level is the value of one of the unit's interpolated pixels.

    Against it, interpolation that is off by one rounding gives other counts.
    """
    generator = torch.Generator().manual_seed(seed + 2)
    finite = reference.finite_or_nan(acts)
    units = acts.shape[1]

    def one_of(values: Tensor) -> Tensor:
        chosen = torch.zeros(units)
        for u in range(units):
            candidates = values[:, u].flatten()
            candidates = candidates[~candidates.isnan()]
            if len(candidates):
                chosen[u] = candidates[int(torch.randint(0, len(candidates), (), generator=generator))]
        return chosen

    rows = []
    for level in levels:
        if level == "value":
            row = one_of(finite)
        elif level in ("pixel", "below-pixel"):
            row = one_of(reference.upsample(finite, size, grid))
            row = torch.nextafter(row, torch.tensor(-torch.inf)) if level == "below-pixel" else row
        elif level == "quantile":
            row = reference.thresholds(acts, 0.05) if acts.numel() else torch.zeros(units)
        elif level == "number":
            row = torch.randn(units, generator=generator)
        else:
            row = torch.full((units,), float(level))
        rows.append(row)
    return torch.stack(rows)


# --- cases ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Arguments of a count, and what it must be."""

    acts: Tensor  # [N, U, h, w]
    masks: Tensor  # [N, C, H, W] bool
    threshold: Tensor  # [L, U]
    grid: Grid = "half_pixel"
    category_names: tuple[str, ...] | None = None  # of each concept

    @cached_property
    def packed(self) -> PackedMasks:
        return PackedMasks.from_bool(self.masks, self.category_names)

    @cached_property
    def categories(self) -> Categories:
        return self.packed.categories

    @cached_property
    def annotated(self) -> Tensor:
        """``[N, K]``, from the bool masks: does the image carry a concept of the category?"""
        if self.category_names is None:
            return torch.ones(len(self.masks), 1, dtype=torch.bool)
        carried = self.masks.flatten(2).any(2)  # [N, C]
        columns = [
            carried[:, [other == name for other in self.category_names]].any(1)
            for name in dict.fromkeys(self.category_names)
        ]
        return torch.stack(columns, dim=1) if columns else torch.zeros(len(self.masks), 0, dtype=torch.bool)

    @cached_property
    def nonfinite(self) -> bool:
        return bool(reference.finite_or_nan(self.acts).isnan().any())

    @property
    def policy(self) -> str:
        """Refuse non-finite values where there are none, so that reading beside the maps is found out."""
        return "off" if self.nonfinite else "error"

    @cached_property
    def expected(self) -> Counts:
        """The reference's counts."""
        tensors = reference.counts(self.acts, self.masks, self.threshold, self.annotated, self.grid)
        return Counts(*tensors, categories=self.categories)


def make_case(
    images: int = 2,
    units: int = 3,
    map_size: tuple[int, int] = (6, 7),
    size: tuple[int, int] = (24, 28),
    concepts: int = 5,
    present: Sequence[int] | None = None,
    whole: bool = True,
    dtype: torch.dtype = torch.float32,
    order: str = "contiguous",
    values: str = "normal",
    special: Sequence[str] = (),
    levels: Sequence[str] = ("value", "pixel", "below-pixel"),
    grid: Grid = "half_pixel",
    categories: int = 3,
    seed: int = 0,
) -> Case:
    """A case from plain choices; ``categories=0`` is the single one of plain masks."""
    acts = make_acts((images, units, *map_size), dtype, order, values, special, seed)
    names = tuple(f"category {concept * 7 % categories}" for concept in range(concepts)) if categories else None
    return Case(
        acts=acts,
        masks=make_masks(images, concepts, size, present, whole, seed),
        threshold=make_threshold(acts, size, grid, levels, seed),
        grid=grid,
        category_names=names,
    )


MAP_SIZES = (
    (1, 1),
    (7, 5),
    (1, 9),
    (9, 1),
    (2, 2),
    (3, 63),
    (3, 64),
    (2, 65),
    (3, 140),
    (13, 13),
    (4, 20),
    (16, 16),
    (28, 3),
    (40, 50),
    (66, 1),
)
SIZES = (
    (1, 1),
    (5, 3),
    (16, 16),
    (7, 17),
    (31, 33),
    (32, 48),
    (28, 28),
    (113, 113),
    (97, 61),
    (56, 112),
    (2, 150),
)
# The reference multiplies whole-numbered matrices, so the product of all sizes bounds a case's time.
_BUDGET = 4_000_000

_numbers = st.floats(-40, 40, width=32)
_strides = st.floats(0.25, 64, width=32)


@st.composite
def receptive_fields(draw: st.DrawFn, size: tuple[int, int]) -> ReceptiveField:
    """Of images about as large as the masks, or not."""
    image = draw(st.sampled_from([size, 224, (227, 299), size[0]]))
    offset = draw(st.one_of(_numbers, st.tuples(_numbers, _numbers)))
    stride = draw(st.one_of(_strides, st.tuples(_strides, _strides)))
    return ReceptiveField(offset, stride, image)


@st.composite
def cases(draw: st.DrawFn, nonfinite: bool = True, min_images: int = 0, min_units: int = 0) -> Case:
    """Any case at all."""
    sizes = st.one_of(st.sampled_from(SIZES), st.tuples(st.integers(1, 40), st.integers(1, 80)))
    map_sizes = st.one_of(st.sampled_from(MAP_SIZES), st.tuples(st.integers(1, 20), st.integers(1, 20)))
    size, map_size = draw(sizes), draw(map_sizes)
    images = draw(st.integers(min_images, 3))
    levels = draw(st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4))
    units = draw(st.sampled_from([count for count in (0, 1, 2, 3, 5, 15, 16, 17, 33, 50) if count >= min_units]))
    most = max(_BUDGET // (max(images, 1) * max(units, 1) * len(levels) * size[0] * size[1]), 1)
    concepts = min(draw(st.sampled_from([0, 1, 2, 5, 31, 32, 33, 63, 64, 65, 70])), most)
    present = [draw(st.integers(0, concepts)) for _ in range(images)]
    special = draw(st.lists(st.sampled_from(SPECIAL + (NONFINITE if nonfinite else ())), max_size=4, unique=True))
    grid = draw(st.one_of(st.sampled_from(["half_pixel", "align_corners"]), receptive_fields(size)))
    return make_case(
        images=images,
        units=units,
        map_size=map_size,
        size=size,
        concepts=concepts,
        present=present,
        whole=draw(st.booleans()),
        dtype=draw(st.sampled_from(list(DTYPES.values()))),
        order=draw(st.sampled_from(list(ORDERS))),
        values=draw(st.sampled_from([*VALUES, SUBNORMAL])),
        special=special,
        levels=levels,
        grid=grid,
        categories=draw(st.integers(0, 4)),
        seed=draw(st.integers(0, 2**32)),
    )
