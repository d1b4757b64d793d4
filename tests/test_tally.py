"""Counting in batches."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from engines import Engine, each_engine
from hypothesis import given
from hypothesis import strategies as st
from package import PACKAGE
from strategies import Case, cases, make_case, make_masks

import pydissect
from pydissect.categories import Categories
from pydissect.counts import Counts
from pydissect.errors import InputError
from pydissect.grids import ReceptiveField
from pydissect.masks import PackedMasks
from pydissect.tally import Tally, as_levels


def tally_of(case: Case, **options: object) -> Tally:
    return Tally(case.threshold, case.masks.shape[1], case.categories, grid=case.grid, nonfinite=case.policy, **options)  # type: ignore[arg-type]


@given(cases(), st.lists(st.integers(0, 3), max_size=3))
def test_batches_are_the_whole(case: Case, cuts: list[int]):
    tally = tally_of(case)
    ends = [min(cut, len(case.acts)) for cut in sorted(cuts)]
    for begin, end in itertools.pairwise([0, *ends, len(case.acts)]):
        tally.update(case.acts[begin:end], case.packed[begin:end])
    assert tally.compute() == case.expected
    assert tally.compute() == case.expected


@each_engine
def test_every_backend_streams(engine: Engine):
    case = make_case(images=4, units=20)
    with engine.chosen() as backend:
        tally = tally_of(case, backend=backend).to(engine.device)
        for n in range(4):
            tally.update(case.acts[n : n + 1].to(engine.device), case.packed[n : n + 1].to(engine.device))
    result = tally.compute()
    assert torch.equal(result.intersection.cpu(), case.expected.intersection)
    assert torch.equal(result.concept_area.cpu(), case.expected.concept_area)


def test_masks_of_every_kind():
    labels = torch.randint(0, 4, (2, 10, 12), generator=torch.Generator().manual_seed(1))
    masks = torch.stack([labels == c for c in (1, 2, 3)], dim=1)
    case = make_case(concepts=3, size=(10, 12))
    case = Case(case.acts, masks, case.threshold)
    for kind in (case.packed, masks, masks.numpy(), labels, labels.numpy().astype(np.uint8)):
        tally = Tally(case.threshold, 3)
        tally.update(case.acts, kind)
        assert tally.compute() == case.expected


def test_batches_of_labels_without_the_last_ones():
    """A batch's own largest label must not decide how many concepts there are."""
    tally = Tally(torch.zeros(1), 5)
    for labels in ([[[1, 2]]], [[[5, 5]]], [[[0, 0]]]):
        tally.update(torch.ones(1, 1, 1, 1), torch.tensor(labels))
    counts = tally.compute()
    assert counts.intersection.tolist() == [[1, 1, 0, 0, 2]]
    assert counts.unit_area_all.tolist() == [6]


def test_categories_of_plain_masks():
    case = make_case(categories=2)
    tally = Tally(case.threshold, 5, list(case.category_names or ()))
    tally.update(case.acts, case.masks)
    assert tally.compute() == case.expected


def test_nothing_counted():
    counts = Tally(torch.zeros(2, 3), 4, ["a", "b", "a", "c"]).compute()
    assert counts.intersection.tolist() == [[[0] * 4] * 3] * 2
    assert counts.unit_area.shape == (2, 3, 3)
    assert counts.categories.names == ("a", "b", "c")
    assert Tally(torch.zeros(3), 4).compute().categories == Categories.single(4)


def test_result_does_not_change_afterwards():
    case = make_case()
    tally = tally_of(case)
    tally.update(case.acts, case.packed)
    counts = tally.compute()
    tally.update(case.acts, case.packed)
    assert counts == case.expected
    assert tally.compute() == case.expected + case.expected


def test_reset():
    case, other = make_case(seed=1), make_case(seed=2, categories=2)
    tally = Tally(case.threshold, 5)
    tally.update(case.acts, case.packed)
    tally.reset()
    assert tally.compute().concept_area.sum() == 0
    tally.reset()
    tally.update(other.acts, other.packed)
    assert tally.compute() == Case(other.acts, other.masks, case.threshold, "half_pixel", other.category_names).expected


def test_given_categories_survive_a_reset():
    tally = Tally(torch.zeros(3), 2, ["a", "b"])
    tally.reset()
    assert tally.compute().categories == Categories.of(["a", "b"])


# --- merging, state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_merge(cut: int):
    case = make_case(images=5)
    parts = [Tally(case.threshold, 5) for _ in range(2)]
    for tally, images in zip(parts, (slice(0, cut), slice(cut, 5)), strict=True):
        if images.start != images.stop:
            tally.update(case.acts[images], case.packed[images])
    assert parts[0].merge(parts[1]) is parts[0]
    assert parts[0].compute() == case.expected


def test_merging_leaves_the_other_alone():
    case = make_case()
    mine, other = tally_of(case), tally_of(case)
    other.update(case.acts, case.packed)
    mine.merge(other)
    mine.update(case.acts, case.packed)
    mine.merge(other)
    assert other.compute() == case.expected
    assert mine.compute() == case.expected + case.expected + case.expected


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: Tally(torch.ones(3), 5), "tallies of the same thresholds"),
        (lambda: Tally(torch.zeros(4), 5), "tallies of the same thresholds"),
        (lambda: Tally(torch.zeros(2, 3), 5), "tallies of the same thresholds"),
        (lambda: Tally(torch.zeros(3), 6), "expected 5 concepts, found 6"),
        (
            lambda: Tally(torch.zeros(3), 5, grid="align_corners"),
            "expected grid half_pixel, found align_corners",
        ),
    ],
)
def test_merging_another_kind_is_refused(other, message: str):
    with pytest.raises(InputError, match=f"merge: .*{message}"):
        Tally(torch.zeros(3), 5).merge(other())


def test_merging_other_categories_is_refused():
    case, other = make_case(categories=3), make_case(categories=2)
    tallies = [Tally(torch.zeros(3), 5) for _ in range(2)]
    tallies[0].update(case.acts, case.packed)
    tallies[1].update(other.acts, other.packed)
    with pytest.raises(InputError, match=r"merge: expected categories .*, found "):
        tallies[0].merge(tallies[1])
    assert tallies[0].compute().concept_area.tolist() == case.expected.concept_area.tolist()


def test_state_dict(tmp_path):
    case = make_case(images=5, special=("nan",), grid=ReceptiveField(3, 4, 28))
    saved = tally_of(case)
    saved.update(case.acts[:2], case.packed[:2])
    torch.save(saved.state_dict(), tmp_path / "state.pt")
    saved.update(case.acts[2:], case.packed[2:])
    restored = tally_of(case)
    restored.update(case.acts[:1], case.packed[:1])  # is forgotten
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    restored.update(case.acts[2:], case.packed[2:])
    assert restored.compute() == saved.compute() == case.expected


def test_state_dict_is_a_copy():
    case = make_case()
    tally = tally_of(case)
    tally.update(case.acts, case.packed)
    state = tally.state_dict()
    restored = tally_of(case)
    restored.load_state_dict(state)
    for one in (tally, restored):
        one.update(case.acts, case.packed)
    restored.load_state_dict(state)
    assert restored.compute() == case.expected


def test_state_dict_brings_its_categories():
    case = make_case()
    saved, restored = Tally(case.threshold, 5), Tally(case.threshold, 5)
    saved.update(case.acts, case.packed)
    restored.load_state_dict(saved.state_dict())
    assert restored.compute() == case.expected
    restored.load_state_dict(Tally(case.threshold, 5).state_dict())
    assert restored.compute().categories == Categories.single(5)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: Tally(torch.ones(3), 2), "expected these thresholds"),
        (lambda: Tally(torch.zeros(4), 2), r"found thresholds \[1, 4\]"),
        (lambda: Tally(torch.zeros(3), 3), "found thresholds .* and 3 concepts"),
        (
            lambda: Tally(torch.zeros(3), 2, grid="align_corners"),
            "expected grid 'half_pixel', found 'align_corners'",
        ),
        (
            lambda: Tally(torch.zeros(3), 2, ["b", "a"]),
            r"expected categories \('a', 'b'\), found \('b', 'a'\)",
        ),
    ],
)
def test_state_dict_of_another_kind_is_refused(other, message: str):
    with pytest.raises(InputError, match=f"state_dict: .*{message}"):
        Tally(torch.zeros(3), 2, ["a", "b"]).load_state_dict(other().state_dict())


def test_state_dict_with_categories_of_other_concepts_is_refused():
    state = Tally(torch.zeros(3), 2, ["a", "b"]).state_dict() | {"concept_category": torch.zeros(7, dtype=torch.int64)}
    with pytest.raises(InputError, match="state_dict: expected the category of each of 2 concepts, found 7"):
        Tally(torch.zeros(3), 2).load_state_dict(state)


def test_to_keeps_the_counts():
    case = make_case()
    tally = tally_of(case)
    assert tally.to("cpu") is tally
    tally.update(case.acts, case.packed)
    assert tally.to("cpu").compute() == case.expected
    assert tally.device == torch.device("cpu")
    assert tally.to("meta").device == torch.device("meta")
    assert tally.compute().intersection.device == torch.device("meta")


# --- non-finite values -------------------------------------------------------------------------------------


def with_nan(images: int, *places: tuple[int, int]) -> torch.Tensor:
    acts = torch.ones(images, 3, 2, 2)
    for place in places:
        acts[place] = torch.nan
    return acts


def test_images_are_numbered_over_all_batches():
    tally = Tally(torch.zeros(3), 1)
    masks = torch.ones((2, 1, 4, 4), dtype=torch.bool)
    tally.update(with_nan(2), masks)
    with pytest.raises(InputError, match="unit 2 of image 3 has a non-finite activation"):
        tally.update(with_nan(2, (1, 2)), masks)


def test_gives_no_counts_after_a_non_finite_value():
    """Rather than counts of a part of the batch; until it is reset."""
    tally = Tally(torch.zeros(3), 1)
    masks = torch.ones((2, 1, 4, 4), dtype=torch.bool)
    tally.update(with_nan(2), masks)
    with pytest.raises(InputError, match="unit 1 of image 2"):
        tally.update(with_nan(2, (0, 1)), masks)
    with pytest.raises(InputError, match="unit 1 of image 2"):
        tally.compute()
    with pytest.raises(InputError, match="unit 1 of image 2"):
        tally.update(with_nan(2), masks)
    tally.reset()
    tally.update(with_nan(2), masks)
    assert tally.compute().unit_area_all.tolist() == [32] * 3


@pytest.mark.parametrize("before", [0, 2], ids=["in-its-first-batch", "later"])
def test_a_merged_or_restored_tally_remembers_the_non_finite_value(before: int):
    masks = torch.ones((2, 1, 4, 4), dtype=torch.bool)
    broken, merged, restored = (Tally(torch.zeros(3), 1) for _ in range(3))
    merged.update(with_nan(2), masks)
    if before:
        broken.update(with_nan(before), masks)
    with pytest.raises(InputError):
        broken.update(with_nan(2, (1, 2)), masks)
    restored.load_state_dict(broken.state_dict())
    with pytest.raises(InputError, match=f"unit 2 of image {before + 1} "):
        restored.compute()
    merged.merge(broken)
    with pytest.raises(InputError, match=f"unit 2 of image {2 + before + 1} "):
        merged.compute()


@pytest.mark.parametrize("way", ["merged", "restored"])
def test_images_are_numbered_on_from_another_tally(way: str):
    masks = torch.ones((2, 1, 4, 4), dtype=torch.bool)
    tally, other = (Tally(torch.zeros(3), 1) for _ in range(2))
    other.update(with_nan(2), masks)
    if way == "merged":
        tally.merge(other)
    else:
        tally.load_state_dict(other.state_dict())
    with pytest.raises(InputError, match="unit 0 of image 3 has a non-finite activation"):
        tally.update(with_nan(2, (1, 0)), masks)


def test_off_counts_without_an_error():
    tally = Tally(torch.zeros(3), 1, nonfinite="off")
    tally.update(with_nan(2, (0, 1)), torch.ones((2, 1, 4, 4), dtype=torch.bool))
    assert tally.compute().unit_area_all.tolist() == [32, 16, 32]


# --- errors ------------------------------------------------------------------------------------------------


def test_update_refuses():
    case = make_case(categories=3)
    other_names = Case(case.acts, case.masks, case.threshold, "half_pixel", ("x",) * 5).packed
    tally = tally_of(case)
    for acts, masks, message in (
        (case.acts[:, :2], case.packed, "acts: expected 3 units, one for each threshold, found 2"),
        (case.acts, case.packed[:1], "masks: expected those of 2 images, one for each of acts, found 1"),
        (
            case.acts,
            make_masks(2, 4, (9, 9)),
            "categories: expected one name for each of the 4 concepts, found 5",
        ),
        (case.acts, make_case(concepts=4).packed, "masks: expected 5 concepts, found 4"),
        (case.acts, torch.full((2, 5, 6), 6), "masks: expected labels 1 to 5 for 5 concepts"),
        (case.acts, case.packed.to("meta"), "masks: expected device cpu, that of acts, found meta"),
        (case.acts.to("meta"), case.packed, "masks: expected device meta, that of acts, found cpu"),
        (case.acts, other_names, r"masks: expected categories \('category 0', .*\), found \('x',\)"),
        (case.acts.double(), case.packed, "acts: expected float32, float16 or bfloat16, found float64"),
        (
            case.acts[0],
            case.packed,
            r"acts: expected activation maps \[N, U, h, w\], found shape \[3, 6, 7\]",
        ),
    ):
        with pytest.raises(InputError, match=message):
            tally.update(acts, masks)
    tally.update(case.acts, case.packed)
    assert tally.compute() == case.expected


def test_another_device_is_refused():
    case = make_case()
    tally = tally_of(case, backend="reference")
    tally.update(case.acts, case.packed)
    with pytest.raises(InputError, match="acts: expected device cpu as before, found meta"):
        tally.update(case.acts.to("meta"), case.packed.to("meta"))


@pytest.mark.parametrize("threshold", [torch.zeros(2, 3, 4), np.zeros((1, 1, 1)), torch.zeros(3, dtype=torch.bool)])
def test_threshold_is_refused(threshold: object):
    with pytest.raises(InputError, match=r"threshold: expected a number, \[U\] or \[L, U\], found "):
        Tally(threshold, 2)


@pytest.mark.parametrize("nonfinite", ["on", None, True])
def test_policy_is_refused(nonfinite: object):
    with pytest.raises(InputError, match="nonfinite: expected 'error' or 'off', found ") as error:
        Tally(torch.zeros(3), 2, nonfinite=nonfinite)  # type: ignore[arg-type]
    assert repr(nonfinite) in str(error.value)


def test_grid_and_categories_are_refused():
    with pytest.raises(InputError, match="grid: expected"):
        Tally(torch.zeros(3), 2, grid="nearest")
    with pytest.raises(InputError, match="categories: expected one name for each of the 2 concepts, found 3"):
        Tally(torch.zeros(3), 2, ["a", "b", "c"])


# --- thresholds as levels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "units", "levels", "several"),
    [
        (0.5, 3, [[0.5] * 3], False),
        (2, 3, [[2.0] * 3], False),
        (0.5, 0, [[]], False),
        (torch.tensor(0.5), 2, [[0.5] * 2], False),
        (np.float64(0.5), 2, [[0.5] * 2], False),
        (torch.tensor([1.0, 2.0]), 2, [[1.0, 2.0]], False),
        (np.array([1, 2]), 2, [[1.0, 2.0]], False),
        (torch.tensor([[1.0, 2.0]]), 2, [[1.0, 2.0]], True),
        (torch.tensor([[1.0, 2.0], [-torch.inf, torch.inf]]), 2, [[1.0, 2.0], [-torch.inf, torch.inf]], True),
        (torch.tensor([1.5], dtype=torch.bfloat16), 1, [[1.5]], False),
        (torch.zeros(0), 0, [[]], False),
        (torch.zeros(2, 0), 0, [[], []], True),
    ],
)
def test_as_levels(threshold: object, units: int | None, levels: list, several: bool):
    result, flag = as_levels(threshold, units)
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    assert result.tolist() == levels
    assert flag is several


def test_thresholds_are_rounded_to_fp32():
    levels, _ = as_levels(0.1, 1)
    assert levels.item() == float(np.float32(0.1)) != 0.1


@pytest.mark.parametrize(
    ("threshold", "units", "message"),
    [
        (torch.zeros(3), 2, r"threshold: expected one for each of the 2 units, found shape \[3\]"),
        (torch.zeros(2, 3), 2, r"threshold: expected one for each of the 2 units, found shape \[2, 3\]"),
        (torch.zeros(0, 3), 3, r"threshold: expected at least one level, found shape \[0, 3\]"),
        (float("nan"), 2, "threshold: expected no NaN, found one for unit 0"),
        (torch.tensor([0.0, torch.nan]), 2, "threshold: expected no NaN, found one for unit 1"),
        (
            torch.tensor([[0, 0], [0, torch.nan]]),
            2,
            "threshold: expected no NaN, found one for unit 1 of level 1",
        ),
        (True, 2, "threshold: expected a torch tensor, .* found bool"),
        ([0.1, "0.2"], 2, r"threshold: expected a number, \[U\] or \[L, U\]: "),
        ("0.1", 2, "threshold: expected a torch tensor, .* found str"),
        (
            torch.zeros(2, dtype=torch.uint8),
            2,
            r"threshold: expected a number, \[U\] or \[L, U\], found uint8 \[2\]",
        ),
    ],
)
def test_as_levels_refuses(threshold: object, units: int, message: str):
    with pytest.raises(InputError, match=message):
        as_levels(threshold, units)


@pytest.mark.parametrize("kind", ["number", "list", "float64", "float32", "numpy"])
def test_subnormal_thresholds_when_the_caller_flushes_them(kind: str, flush_denormals: None):
    acts = torch.full((1, 1, 2, 2), 2e-40).reshape(1, 1, 2, 2)
    masks = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    value = 3e-40
    threshold = {
        "number": value,
        "list": [value],
        "float64": torch.tensor([value], dtype=torch.float64),
        # Its bits, since a conversion would flush it.
        "float32": torch.tensor([214087], dtype=torch.int32).view(torch.float32),
        "numpy": np.array([value]),
    }[kind]
    assert int(pydissect.count(acts, masks, threshold).unit_area_all[0]) == 0


def test_a_list_of_lists_is_levels():
    acts, masks = torch.rand(2, 3, 4, 4), torch.rand(2, 5, 9, 9) > 0.5
    levels = [[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]]
    assert pydissect.count(acts, masks, levels) == pydissect.count(acts, masks, torch.tensor(levels))


def test_a_ragged_list_of_thresholds_is_refused():
    with pytest.raises(InputError, match="threshold: expected a number"):
        pydissect.count(torch.rand(1, 2, 3, 3), torch.ones(1, 1, 4, 4, dtype=torch.bool), [[0.1], [0.2, 0.3]])


def test_a_tally_needs_a_threshold_for_each_unit():
    with pytest.raises(InputError, match=r"threshold: .* found a single number"):
        Tally(0.5, 5)


def counts_of(case: Case, masks: PackedMasks) -> Counts:
    tally = tally_of(case)
    tally.update(case.acts[: len(masks)], masks)
    return tally.compute()


def test_masks_whose_memory_has_moved_since_the_last_batch():
    """As torch moves it, in place, to hand a tensor to another process."""
    case = make_case(units=3, images=4)
    masks, expected = case.packed, case.expected
    for name, tensor in vars(masks).items():
        if isinstance(tensor, torch.Tensor):
            setattr(masks, name, tensor.clone())
            assert counts_of(case, masks) == expected
            getattr(masks, name).share_memory_()
            assert counts_of(case, masks) == expected


def test_masks_that_change_between_batches():
    case = make_case(units=3, images=4)
    for step in (1, 2):
        masks = make_case(units=3, images=4).packed[::step]
        assert counts_of(case, masks).unit_area.sum() > 0
        masks.annotated.zero_()
        assert counts_of(case, masks).unit_area.sum() == 0


def run_script(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with these variables in its environment."""
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), **variables},
        capture_output=True,
        text=True,
    )


OUT_OF_MEMORY = """
import resource, sys, torch
from pydissect import PackedMasks
from pydissect.tally import Tally

torch.set_num_threads(int(sys.argv[1]))
acts = torch.rand(2, 64, 4, 4)
small, large = (PackedMasks.from_bool(torch.rand(2, 1, *size) > 0.5) for size in ((8, 8), (2048, 4096)))
tally = Tally(torch.full((64,), 0.5), 1)
tally.update(acts, small)
before = tally.compute()
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**24,) * 2)
try:
    tally.update(acts, large)
except MemoryError:
    print("refused", tally.compute() == before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer takes memory of its own")
@pytest.mark.parametrize("number", ["1", "2"])
def test_running_out_of_memory_counts_nothing_and_is_an_error(number: str):
    """The large masks' words side by side take 32 MB."""
    run = run_script(OUT_OF_MEMORY, number, MALLOC_MMAP_THRESHOLD_="65536")
    assert (run.returncode, run.stdout) == (0, "refused True\n"), run.stderr


FEWER_THREADS = """
import torch
from pydissect import Tally
from pydissect.errors import InputError

torch.set_num_threads(4)
acts, masks = torch.randn(8, 256, 7, 7), torch.rand(8, 5, 20, 20) < 0.3
counts = []
for backend in ("cpu", "reference"):
    tally = Tally(torch.full((256,), 0.5), 5, backend=backend)
    tally.update(acts, masks)
    counts.append(tally.compute())
print(counts[0] == counts[1])
acts[0, 0] = torch.nan
try:
    Tally(torch.full((256,), 0.5), 5).update(acts, masks)
except InputError as error:
    print("unit 0 of image 0" in str(error))
"""


def test_all_is_counted_where_openmp_gives_fewer_threads():
    run = run_script(FEWER_THREADS, OMP_THREAD_LIMIT="1")
    assert (run.returncode, run.stdout) == (0, "True\nTrue\n"), run.stderr
