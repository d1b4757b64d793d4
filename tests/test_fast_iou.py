"""The one-line functions: what goes in, what comes out, and what the documentation promises."""

import inspect
import textwrap
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engines import Engine, each_engine
from hypothesis import given
from strategies import DTYPES, ORDERS, Case, cases, make_acts, make_case, make_masks
from test_arrays import DlpackOnly
from torch import Tensor

from pydissect import reference
from pydissect.counts import Counts
from pydissect.errors import InputError
from pydissect.grids import ReceptiveField
from pydissect.iou import count, fast_iou
from pydissect.masks import PackedMasks


def expected_iou(case: Case, union: str = "category") -> Tensor:
    """From the reference alone."""
    both, area, everywhere, concept = reference.counts(case.acts, case.masks, case.threshold, case.annotated, case.grid)
    names = case.category_names or ("all",) * case.masks.shape[1]
    order = list(dict.fromkeys(names)) or ["all"]
    places = torch.tensor([order.index(name) for name in names], dtype=torch.int64)
    unit_area = area[..., places] if union == "category" else everywhere[..., None]
    return reference.iou(both, unit_area, concept)


@given(cases())
def test_any_case(case: Case):
    for union in ("category", "all"):
        result = fast_iou(
            case.acts,
            case.packed,
            threshold=case.threshold,
            grid=case.grid,
            union=union,
            nonfinite=case.policy,
        )
        assert result.dtype == torch.float64
        assert torch.equal(result, expected_iou(case, union))


@each_engine
@pytest.mark.parametrize("dtype", DTYPES)
def test_threshold_is_the_quantile_unless_given(dtype: str, engine: Engine):
    case = make_case(units=5, images=4, dtype=DTYPES[dtype])
    with engine.chosen() as backend:
        acts, masks = case.acts.to(engine.device), case.packed.to(engine.device)
        for quantile in (0.05, [0.05, 0.3], "1/7"):
            quantiles = quantile if isinstance(quantile, list) else [quantile]
            threshold = torch.stack([reference.thresholds(case.acts, q) for q in quantiles])
            theirs = expected_iou(Case(case.acts, case.masks, threshold, case.grid, case.category_names))
            mine = fast_iou(acts, masks, quantile=quantile, backend=backend).cpu()
            assert torch.equal(mine, theirs if isinstance(quantile, list) else theirs[0])


def test_quantile_is_five_in_a_thousand_by_default():
    acts, masks = make_acts((8, 2, 10, 10)), make_masks(8, 3, (20, 20))
    assert torch.equal(fast_iou(acts, masks), fast_iou(acts, masks, quantile=0.005))
    assert not torch.equal(fast_iou(acts, masks), fast_iou(acts, masks, quantile=0.01))


@pytest.mark.parametrize("threshold", [0.25, np.float32(0.25), torch.tensor(0.25)], ids=["float", "numpy", "tensor"])
def test_one_number_for_all_units(threshold: object):
    case = make_case(units=4)
    alike = Case(case.acts, case.masks, torch.full((1, 4), 0.25), case.grid, case.category_names)
    assert torch.equal(fast_iou(case.acts, case.packed, threshold=threshold), expected_iou(alike)[0])


def test_a_range_is_the_difference_of_two_levels():
    """``(a, b]`` is the level ``a`` minus the level ``b``: at these grid points nothing is rounded."""
    case = make_case(units=3, map_size=(6, 7), size=(6, 7))
    low, high = torch.full((3,), -0.5), torch.full((3,), 0.5)
    counts = count(case.acts, case.packed, torch.stack([low, high]))
    inside = ((case.acts > -0.5) & (case.acts <= 0.5)).flatten(2).long()
    both = torch.einsum("nup,ncp->uc", inside, case.masks.flatten(2).long())
    assert torch.equal(counts.intersection[0] - counts.intersection[1], both)
    assert torch.equal(counts.unit_area_all[0] - counts.unit_area_all[1], inside.sum((0, 2)))


def test_levels_have_a_leading_axis():
    case = make_case()
    one, several = case.threshold[0], case.threshold[:1]
    assert fast_iou(case.acts, case.packed, threshold=one).shape == (3, 5)
    assert fast_iou(case.acts, case.packed, threshold=several).shape == (1, 3, 5)
    counts = count(case.acts, case.packed, one)
    assert isinstance(counts, Counts)
    assert [tuple(t.shape) for t in (counts.intersection, counts.unit_area, counts.unit_area_all)] == [
        (3, 5),
        (3, 3),
        (3,),
    ]


def test_masks_of_every_kind():
    labels = torch.randint(0, 4, (2, 24, 28), generator=torch.Generator().manual_seed(1))
    labels[0, 0, :4] = torch.arange(4)
    masks = torch.stack([labels == c for c in (1, 2, 3)], dim=1)
    case = Case(make_case().acts, masks, make_case().threshold)
    kinds = [masks, labels, labels.byte(), labels.numpy(), masks.numpy(), case.packed, DlpackOnly(labels)]
    for kind in kinds:
        assert torch.equal(fast_iou(case.acts, kind, threshold=case.threshold), expected_iou(case))


# --- the caller's kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_numpy(dtype: str, order: str):
    case = make_case(order=order, dtype=DTYPES[dtype])
    result = fast_iou(case.acts.numpy(), case.masks.numpy(), threshold=case.threshold.numpy())
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float64
    plain = Case(case.acts, case.masks, case.threshold)
    assert np.array_equal(result, expected_iou(plain).numpy())


NUMPY_VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "negative-strides": lambda array: np.ascontiguousarray(array[:, ::-1, ::-1])[:, ::-1, ::-1],
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
}


@pytest.mark.parametrize("view", NUMPY_VIEWS)
def test_numpy_views(view: str):
    case = make_case(categories=0)
    acts = NUMPY_VIEWS[view](case.acts.numpy())
    assert np.array_equal(acts, case.acts.numpy())
    result = fast_iou(acts, case.masks, threshold=case.threshold)
    assert np.array_equal(result, expected_iou(case).numpy())


def test_dlpack():
    case = make_case(categories=0)
    result = fast_iou(DlpackOnly(case.acts), DlpackOnly(case.masks), threshold=case.threshold)
    assert torch.equal(result, expected_iou(case))


def test_numpy_with_its_own_quantile():
    case = make_case(categories=0, images=4)
    mine = fast_iou(case.acts.numpy(), case.masks, quantile=[0.1, 0.2])
    assert isinstance(mine, np.ndarray)
    assert np.array_equal(mine, fast_iou(case.acts, case.masks, quantile=[0.1, 0.2]).numpy())


def test_activations_that_need_a_gradient():
    case = make_case(categories=0)
    result = fast_iou(case.acts.requires_grad_(), case.masks, threshold=case.threshold)
    assert not result.requires_grad


def test_arguments_are_not_written_to():
    case = make_case(special=("nan",), values="sparse")
    acts, threshold, masks = case.acts.clone(), case.threshold.clone(), case.masks.clone()
    fast_iou(case.acts, case.masks, threshold=case.threshold, nonfinite="off")
    fast_iou(case.acts, case.masks, quantile=0.1, nonfinite="off")
    assert torch.equal(case.acts.view(torch.int32), acts.view(torch.int32))
    assert torch.equal(case.threshold, threshold)
    assert torch.equal(case.masks, masks)


# --- empty inputs -----------------------------------------------------------------------------------------


def test_no_images():
    result = fast_iou(torch.zeros(0, 3, 4, 5), torch.zeros((0, 2, 8, 9), dtype=torch.bool), threshold=0.0)
    assert result.tolist() == [[0.0] * 2] * 3
    with pytest.raises(InputError, match="acts: expected at least one image"):
        fast_iou(torch.zeros(0, 3, 4, 5), torch.zeros((0, 2, 8, 9), dtype=torch.bool))


def test_no_units():
    masks = torch.ones((2, 4, 8, 9), dtype=torch.bool)
    assert fast_iou(torch.zeros(2, 0, 4, 5), masks, threshold=0.0).shape == (0, 4)
    assert fast_iou(torch.zeros(2, 0, 4, 5), masks, threshold=torch.zeros(3, 0)).shape == (3, 0, 4)
    assert fast_iou(torch.zeros(2, 0, 4, 5), masks, quantile=0.5).shape == (0, 4)


def test_no_concepts():
    acts = make_acts((2, 3, 4, 5))
    assert fast_iou(acts, torch.zeros((2, 0, 8, 9), dtype=torch.bool), threshold=0.0).shape == (3, 0)
    assert fast_iou(acts, torch.zeros((2, 8, 9), dtype=torch.int64), threshold=0.0).shape == (3, 0)


# --- what the documentation says ---------------------------------------------------------------------------


def snippet(function: Callable) -> str:
    """The code after "Equivalent ... to::" in the docstring."""
    _, _, rest = inspect.getdoc(function).partition("to::\n\n")
    lines = rest.splitlines()
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("    "))
    return textwrap.dedent("\n".join(lines[:end]))


def sixteenths() -> Tensor:
    """Activations that no arithmetic rounds when they are upsampled four times."""
    return (make_acts((5, 3, 4, 4)) * 16).round() / 16


def documented(function: Callable, **variables: object) -> dict:
    """What the snippet computes."""
    scope = {"torch": torch, "F": F, **variables}
    exec(snippet(function), scope)
    return scope


@pytest.mark.parametrize("quantile", [0.05, 0.25])
def test_fast_iou_is_what_its_documentation_says(quantile: float):
    acts, masks = sixteenths(), make_masks(5, 6, (16, 16))
    scope = documented(fast_iou, acts=acts, masks=masks, quantile=quantile, H=16, W=16)
    theirs = scope["iou"].nan_to_num(0)
    assert (theirs > 0).any()
    assert torch.equal(fast_iou(acts, masks, quantile=quantile), theirs)


def test_count_is_what_its_documentation_says():
    acts, masks = sixteenths(), make_masks(5, 6, (16, 16))
    threshold = torch.tensor([0.0, 0.5, -0.25])
    scope = documented(count, acts=acts, masks=masks, threshold=threshold, H=16, W=16)
    counts = count(acts, masks, threshold)
    assert torch.equal(counts.intersection, scope["intersection"])
    assert torch.equal(counts.unit_area_all, scope["on"].sum((0, 2, 3)))
    assert counts.intersection.sum() > 0


def test_against_plain_torch():
    """F.interpolate rounds otherwise, so that a few pixels of many may differ, but no IoU by much."""
    acts, masks = make_acts((6, 8, 13, 13), values="sparse"), make_masks(6, 9, (112, 112))
    threshold = reference.thresholds(acts, 0.02)
    on = F.interpolate(acts, (112, 112), mode="bilinear") > threshold[:, None, None]
    both = torch.einsum("nuyx,ncyx->uc", on.double(), masks.double())
    theirs = both / (on.sum((0, 2, 3))[:, None] + masks.sum((0, 2, 3)) - both)
    assert (fast_iou(acts, masks, threshold=threshold) - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("grid", ["align_corners", ReceptiveField(3, 4, 28)], ids=str)
def test_grids_differ(grid):
    case = make_case(grid=grid)
    mine = fast_iou(case.acts, case.packed, threshold=case.threshold, grid=grid)
    assert torch.equal(mine, expected_iou(case))
    assert not torch.equal(mine, fast_iou(case.acts, case.packed, threshold=case.threshold))


def test_unions_differ_where_a_category_is_not_annotated():
    case = make_case(images=3, present=(3, 0, 5))
    by_category = fast_iou(case.acts, case.packed, threshold=-5.0)
    over_all = fast_iou(case.acts, case.packed, threshold=-5.0, union="all")
    assert (over_all <= by_category).all()
    assert (over_all < by_category).any()


# --- errors ------------------------------------------------------------------------------------------------

ACTS, MASKS = torch.zeros(2, 3, 4, 5), torch.ones((2, 6, 8, 9), dtype=torch.bool)


@pytest.mark.parametrize(
    ("acts", "masks", "options", "message"),
    [
        (
            ACTS.double(),
            MASKS,
            {},
            r"acts: expected float32, float16 or bfloat16, found float64; .*\.float\(\)",
        ),
        (ACTS.numpy().astype(np.float64), MASKS, {}, r"acts: .* found float64; convert it with \.float\(\)"),
        (ACTS[0], MASKS, {}, r"acts: expected activation maps \[N, U, h, w\], found shape \[3, 4, 5\]"),
        (ACTS.tolist(), MASKS, {}, "acts: expected a torch tensor, .* found list"),
        (ACTS, MASKS.byte(), {}, r"masks: .* found uint8 \[2, 6, 8, 9\]; use \.bool\(\)"),
        (ACTS, MASKS.float(), {}, r"masks: .* found float32 \[2, 6, 8, 9\]; use \.bool\(\)"),
        (ACTS, MASKS[0], {}, r"masks: expected bool \[N, C, H, W\], found bool \[6, 8, 9\]"),
        (ACTS, MASKS[:1], {}, "masks: expected those of 2 images, one for each of acts, found 1"),
        (ACTS, MASKS.tolist(), {}, "masks: expected a torch tensor, .* found list"),
        (ACTS, MASKS, {"threshold": torch.zeros(4)}, r"threshold: .* each of the 3 units, found shape \[4\]"),
        (
            ACTS,
            MASKS,
            {"threshold": torch.zeros(2, 4)},
            r"threshold: .* each of the 3 units, found shape \[2, 4\]",
        ),
        (ACTS, MASKS, {"threshold": torch.zeros(1, 2, 3)}, r"threshold: .* found float32 \[1, 2, 3\]"),
        (ACTS, MASKS, {"threshold": float("nan")}, "threshold: expected no NaN, found one for unit 0"),
        (ACTS, MASKS, {"threshold": "high"}, "threshold: .* found str"),
        (ACTS, MASKS, {"quantile": 1.5}, "quantile: expected a number between 0 and 1, exclusive, found 1.5"),
        (ACTS, MASKS, {"quantile": 0}, "quantile: expected a number between 0 and 1, exclusive, found 0"),
        (ACTS, MASKS, {"quantile": []}, "quantile: expected at least one, found none"),
        (ACTS, MASKS, {"grid": "nearest"}, "grid: expected .* found 'nearest'"),
        (ACTS, MASKS, {"union": "none"}, "union: expected 'category' or 'all', found 'none'"),
        (ACTS, MASKS, {"nonfinite": "skip"}, "nonfinite: expected 'error' or 'off', found 'skip'"),
        (ACTS, MASKS, {"backend": "fpga"}, "backend: expected auto, .* found 'fpga'"),
        (
            ACTS,
            PackedMasks.from_bool(MASKS).to("meta"),
            {},
            "masks: expected device cpu, that of acts, found meta",
        ),
        (ACTS.to("meta"), MASKS, {"threshold": 0.0}, "masks: expected device meta, that of acts, found cpu"),
    ],
)
def test_refuses(acts: object, masks: object, options: dict, message: str):
    options = {"threshold": 0.0, **options} if "quantile" not in options else options
    with pytest.raises(InputError, match=message) as error:
        fast_iou(acts, masks, **options)
    assert "\n" not in str(error.value)


def test_arguments_are_checked_before_any_work():
    """Not after thresholds have been sought in all activations, which takes a while."""
    poisoned = torch.full((2, 3, 4, 5), torch.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # seeking this quantile would warn
        for options, message in (
            ({"union": "none"}, "union: expected"),
            ({"grid": "nearest"}, "grid: expected"),
            ({"nonfinite": "skip"}, "nonfinite: expected"),
        ):
            with pytest.raises(InputError, match=message):
                fast_iou(poisoned, MASKS, **options)
        with pytest.raises(InputError, match="masks: expected those of 2 images"):
            fast_iou(poisoned, MASKS[:1])


@each_engine
def test_names_unit_and_image(engine: Engine):
    acts = make_acts((3, 4, 5, 5))
    acts[1, 2, 3, 3] = torch.inf
    masks = make_masks(3, 2, (9, 9))
    with engine.chosen() as backend:
        acts, masks = acts.to(engine.device), masks.to(engine.device)
        with pytest.raises(InputError, match=r"unit 2 of image 1 .*nonfinite='off' counts such values as off"):
            fast_iou(acts, masks, quantile=0.1, backend=backend)
        assert fast_iou(acts, masks, quantile=0.1, backend=backend, nonfinite="off").shape == (4, 2)
