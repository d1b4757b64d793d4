"""One pass against the reference on all activations at once: thresholds, counts and top images, with ``==``."""

import errno
import os
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from strategies import DTYPES, NONFINITE, ORDERS, SPECIAL, VALUES, make_acts, make_masks
from torch import Tensor

from pydissect import InputError, PackedMasks, Tally, candidate_store, one_pass, reference
from pydissect.candidate_store import CandidateStore, default_memory
from pydissect.one_pass import OnePass
from pydissect.top_images import TopImages

SIZE = (19, 23)


@pytest.fixture(autouse=True)
def drop_early(monkeypatch: pytest.MonkeyPatch):
    """Candidates are dropped though they are few, and replayed an image or two at a time."""
    monkeypatch.setattr(one_pass, "_LEAST_BYTES", 256)
    monkeypatch.setattr(one_pass, "_REPLAY_BYTES", 2048)


@dataclass(frozen=True)
class Run:
    """How a dataset goes by.

    Attributes:
        known: ``exact`` number of images, upper ``limit``, or ``none``.
        cuts: images of each batch, the rest in the last.
        memory: of the store.
    """

    known: str = "exact"
    cuts: tuple[int, ...] = ()
    memory: int | None = None


def split(acts: Tensor, cuts: tuple[int, ...]) -> list[Tensor]:
    cuts = [min(cut, len(acts)) for cut in torch.tensor([0, *cuts]).cumsum(0).tolist()] + [len(acts)]
    return [acts[begin:end] for begin, end in pairwise(cuts)]


def check(acts: Tensor, quantile: object, run: Run, backend: str = "auto", top: int = 3) -> CandidateStore:
    images, _, h, w = acts.shape
    values = images * h * w
    store = CandidateStore(run.memory)
    known = {"exact": values, "limit": 3 * values, "none": None}[run.known]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "quantile .* leaves none above the threshold")
        one = OnePass(known, quantile, at_most=run.known == "limit", top_images=top, store=store, backend=backend)
        for batch in split(acts, run.cuts):
            one.update(batch)
        check_found(one, acts, quantile, backend, top)
    return store


def check_found(one: OnePass, acts: Tensor, quantile: object, backend: str = "auto", top: int = 3) -> None:
    images = len(acts)
    thresholds = one.thresholds()
    quantiles = list(quantile) if isinstance(quantile, list) else [quantile]
    expected = torch.stack([reference.thresholds(acts, q) for q in quantiles])
    assert torch.equal(thresholds, expected if isinstance(quantile, list) else expected[0])

    bits = make_masks(images, 3, SIZE)
    masks = PackedMasks.from_bool(bits)
    tally = Tally(thresholds, 3, nonfinite="off", backend=backend)
    seen = 0
    for first, part in one.replay():
        assert first == seen
        tally.update(part, masks[first : first + len(part)])
        seen += len(part)
    assert seen == images
    counts = tally.compute()
    wanted = reference.counts(acts, bits, expected, torch.ones(images, 1, dtype=torch.bool))
    for name, want in zip(("intersection", "unit_area", "unit_area_all"), wanted, strict=False):
        assert torch.equal(getattr(counts, name), want if isinstance(quantile, list) else want[0]), name
    assert torch.equal(counts.concept_area, wanted[3])
    assert_top(one.top, acts, top)


def assert_top(found: TopImages | None, acts: Tensor, number: int) -> None:
    assert found is not None
    values = reference.finite_or_nan(acts).nan_to_num(nan=-torch.inf).flatten(2)
    for u in range(acts.shape[1]):
        largest, place = values[:, u].max(1).values.tolist(), values[:, u]
        order = sorted((n for n in range(len(acts)) if largest[n] > -torch.inf), key=lambda n: (-largest[n], n))
        ranked = order[:number]
        assert found.images[u].tolist() == ranked + [0] * (number - len(ranked))
        assert found.values[u].tolist() == [largest[n] for n in ranked] + [-torch.inf] * (number - len(ranked))
        first = [int((place[n] == largest[n]).nonzero()[0]) for n in ranked]
        assert found.places[u, : len(ranked)].tolist() == first


@pytest.mark.parametrize("memory", [None, 3000, 0])
@pytest.mark.parametrize("known", ["exact", "limit", "none"])
@pytest.mark.parametrize("order", ["contiguous", "channels-last", "transposed"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_orders(dtype: str, order: str, known: str, memory: int | None):
    acts = make_acts((24, 7, 9, 11), DTYPES[dtype], order, "normal", SPECIAL + NONFINITE)
    store = check(acts, [0.005, 0.05, 0.6], Run(known, (1, 5, 2, 7), memory))
    assert (store.spilled > 0) == (memory is not None)


ARRANGEMENTS = {
    "rising": lambda values: values.flatten().sort().values.view(values.shape),
    "falling": lambda values: values.flatten().sort(descending=True).values.view(values.shape),
    "ties at the threshold": lambda values: (values * 2).round() / 2,
    "constant": torch.ones_like,
    "all zero": torch.zeros_like,
    "one constant unit": lambda values: torch.cat([torch.full_like(values[:, :1], 0.25), values[:, 1:]], 1),
    "one value that matters": lambda values: torch.zeros_like(values).index_put_(
        (torch.tensor(20), torch.tensor(1), torch.tensor(4), torch.tensor(4)), torch.tensor(1.0)
    ),
    "all NaN but one": lambda values: torch.full_like(values, torch.nan).index_put_(
        (torch.tensor(20), torch.tensor(1), torch.tensor(4), torch.tensor(4)), torch.tensor(1.0)
    ),
}


@pytest.mark.parametrize("memory", [None, 0])
@pytest.mark.parametrize("quantile", ["0.00001", 0.005, 0.3, 0.999])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_arrangements(arrangement: str, quantile: object, memory: int | None):
    acts = ARRANGEMENTS[arrangement](make_acts((24, 3, 9, 9), torch.float32, "contiguous", "normal"))
    for cuts in ((), (1,) * 24, (10, 10)):
        check(acts, quantile, Run("exact", cuts, memory))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_backends(backend: str):
    check(make_acts((12, 5, 8, 8)), 0.02, Run(cuts=(3, 4)), backend)


@st.composite
def runs(draw: st.DrawFn) -> tuple[Tensor, object, Run]:
    shape = tuple(draw(st.integers(1, most)) for most in (9, 4, 9, 9))
    dtype, order, values = (draw(st.sampled_from(sorted(choices))) for choices in (DTYPES, ORDERS, VALUES))
    special = draw(st.sampled_from([(), SPECIAL, SPECIAL + NONFINITE]))
    acts = make_acts(shape, DTYPES[dtype], order, values, special, draw(st.integers(0, 2**16)))
    quantile = draw(st.sampled_from([0.005, 0.1, 0.5, [0.2, 0.01], "0.9"]))
    run = Run(
        draw(st.sampled_from(["exact", "limit", "none"])),
        tuple(draw(st.lists(st.integers(0, 4), max_size=4))),
        draw(st.sampled_from([None, 0, 500])),
    )
    return acts, quantile, run


@given(case=runs())
def test_any_run(case: tuple[Tensor, object, Run]):
    check(*case)


def test_few_activations_are_kept():
    """Of smooth maps, as networks' are: a small share, though the bound is loose at first."""
    noise = torch.randn(200, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    acts = torch.nn.functional.interpolate(noise, (24, 24), mode="bicubic")
    store = CandidateStore()
    one = OnePass(200 * 24 * 24, store=store)
    for batch in acts.split(8):
        one.update(batch)
    assert store.peak < 0.15 * acts.nbytes


def test_too_few_activations():
    one = OnePass(1000)
    one.update(torch.randn(2, 3, 4, 4))
    with pytest.raises(InputError, match="n_values: expected 1000 activations a unit, found 32"):
        one.thresholds()


def test_none_of_an_unknown_number():
    with pytest.raises(InputError, match="acts: expected at least one image, found none"):
        OnePass(None).thresholds()


def test_too_many_activations_an_image():
    acts = torch.zeros(1, 1, 1, 1).expand(1, 2**11, 2**10, 2**10)
    with pytest.raises(InputError, match=r"fewer than 2\^31 activations an image, found 2048 x 1024 x 1024"):
        OnePass(2**20).update(acts)


# --- shards ---------------------------------------------------------------------------------------------


def check_shards(acts: Tensor, quantile: object, shards: list[Tensor], run: Run, folder: Path, saved: bool) -> None:
    """Each shard is a pass of its own, of all images' ``n_values``; merged, they are one pass over all."""
    images, _, h, w = acts.shape
    values = images * h * w
    known = {"exact": values, "limit": 3 * values, "none": None}[run.known]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "quantile .* leaves none above the threshold")
        ones = []
        for number, shard in enumerate(shards):
            store = CandidateStore(run.memory)
            one = OnePass(known, quantile, at_most=run.known == "limit", top_images=3, store=store)
            for batch in split(shard, run.cuts) if len(shard) else []:
                one.update(batch)
            if saved:
                one.save(folder / str(number))
                one = OnePass.load(folder / str(number), store=CandidateStore(run.memory))
            ones.append(one)
        merged = ones[0]
        for one in ones[1:]:
            assert merged.merge(one) is merged
        assert merged.images == images
        if run.memory is not None:
            assert merged._store.held <= run.memory
        check_found(merged, acts, quantile)


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "kept"])
@pytest.mark.parametrize("memory", [None, 0])
@pytest.mark.parametrize("known", ["exact", "limit", "none"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shards(dtype: str, known: str, memory: int | None, saved: bool, tmp_path: Path):
    acts = make_acts((24, 7, 9, 11), DTYPES[dtype], "channels-last", "normal", SPECIAL + NONFINITE)
    for cuts in ((), (3,) * 8, (10, 10), (0, 24), (1, 0, 5)):
        check_shards(acts, [0.005, 0.05, 0.6], split(acts, cuts), Run(known, (1, 3), memory), tmp_path, saved)


@pytest.mark.parametrize("quantile", ["0.00001", 0.005, 0.3, 0.999])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_arrangements_of_shards(arrangement: str, quantile: object, tmp_path: Path):
    """Among them: all that matters in one shard, and units whose threshold is a tie in several."""
    acts = ARRANGEMENTS[arrangement](make_acts((24, 3, 9, 9), torch.float32, "contiguous", "normal"))
    for cuts in ((12,), (4,) * 5, (1, 22)):
        check_shards(acts, quantile, split(acts, cuts), Run(cuts=(2, 3)), tmp_path, True)


@given(case=runs(), cuts=st.lists(st.integers(0, 5), max_size=5), saved=st.booleans())
def test_any_shards(case: tuple[Tensor, object, Run], cuts: list[int], saved: bool, tmp_path_factory):
    acts, quantile, run = case
    check_shards(acts, quantile, split(acts, tuple(cuts)), run, tmp_path_factory.mktemp("shards"), saved)


def test_the_first_nonfinite_map_of_shards(tmp_path: Path):
    acts = torch.randn(9, 4, 3, 3)
    acts[5, 2, 1, 1] = torch.nan
    acts[7, 0, 0, 0] = torch.inf
    merged = OnePass(9 * 9, 0.1)
    for number, shard in enumerate(acts.split(3)):
        one = OnePass(9 * 9, 0.1)
        one.update(shard)
        one.save(tmp_path / str(number))
        merged.merge(OnePass.load(tmp_path / str(number)))
        assert merged.finder is not None
        assert merged.finder.first_nonfinite() == (None if number == 0 else (5, 2))


def test_a_pass_goes_on_after_loading_and_merging(tmp_path: Path):
    acts = make_acts((30, 5, 7, 7))
    first, second = OnePass(30 * 49, 0.02, top_images=3), OnePass(30 * 49, 0.02, top_images=3)
    first.update(acts[:10])
    second.update(acts[10:15])
    first.save(tmp_path / "first")
    one = OnePass.load(tmp_path / "first").merge(second)
    for batch in acts[15:].split(4):
        one.update(batch)
    one.save(tmp_path / "first")  # over the file that its candidates are read from
    check_found(OnePass.load(tmp_path / "first"), acts, 0.02)
    check_found(one, acts, 0.02)


def test_candidates_of_a_shard_stay_in_its_file(tmp_path: Path):
    acts = make_acts((20, 4, 8, 8))
    one = OnePass(20 * 64, 0.05)
    one.update(acts)
    one.save(tmp_path / "one")
    store = CandidateStore(1)
    loaded = OnePass.load(tmp_path / "one", store=store)
    (tmp_path / "one").unlink()
    merged = OnePass(20 * 64, 0.05).merge(loaded)
    assert (store.held, store.spilled) == (merged._store.held, merged._store.spilled) == (0, 0)
    assert merged.thresholds().equal(one.thresholds())


def test_candidates_in_a_file_neither_take_memory_nor_are_moved(tmp_path: Path):
    acts = make_acts((40, 4, 8, 8))
    one = OnePass(40 * 64, 0.05)
    one.update(acts[:20])
    one.save(tmp_path / "one")
    store, alone = CandidateStore(0), CandidateStore(0)
    loaded, other = OnePass.load(tmp_path / "one", store=store), OnePass(None, store=alone)
    for batch in acts[20:].split(5):
        loaded.update(batch)
        other.update(batch)
        assert store.held == 0
        assert store.spilled <= alone.spilled
    check_found(loaded, acts, 0.05, top=0)


def test_a_saved_shard_is_pruned(tmp_path: Path):
    """What went into the store's file under the loose bound of the beginning, too."""
    acts = make_acts((64, 8, 8, 8), values="normal").sort(dim=0).values
    loose = OnePass(64 * 64, 0.01, store=CandidateStore(0))
    for batch in acts.split(2):
        loose.update(batch)
    loose.save(tmp_path / "loose")
    once = OnePass(64 * 64, 0.01)
    once.update(acts)
    once.save(tmp_path / "once")
    assert loose._store.spilled > 2 * (tmp_path / "loose").stat().st_size
    # Their headers and numbers of images a batch aside.
    assert (tmp_path / "loose").stat().st_size < (tmp_path / "once").stat().st_size + 8 * 64


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (OnePass(81, 0.1), "merge: expected n_values 80, found 81"),
        (OnePass(None, 0.1), "merge: expected n_values 80, found None"),
        (OnePass(80, 0.2), r"merge: expected quantiles \['1/10'\], found \['1/5'\]"),
        (OnePass(80, 0.1, at_most=True), "merge: expected at_most False, found True"),
        (OnePass(80, 0.1, top_images=2), "merge: expected top_images 0, found 2"),
    ],
)
def test_passes_that_do_not_merge(other: OnePass, found: str):
    with pytest.raises(InputError, match=found):
        OnePass(80, 0.1).merge(other)


def test_passes_of_other_maps_do_not_merge(tmp_path: Path):
    one, other = OnePass(80, 0.1), OnePass(80, 0.1)
    one.update(torch.zeros(1, 3, 4, 4))
    other.update(torch.zeros(1, 3, 2, 8))
    with pytest.raises(InputError, match=r"merge: expected maps \[U, h, w\] \(3, 4, 4\), found \(3, 2, 8\)"):
        one.merge(other)
    one.update(torch.zeros(1, 3, 2, 8))
    with pytest.raises(InputError, match=r"save: expected all maps .* to be \(3, 4, 4\) of torch.float32, found"):
        one.save(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def state(tmp_path: Path) -> Path:
    one = OnePass(6 * 16, 0.2, top_images=2)
    one.update(make_acts((3, 5, 4, 4)))
    one.save(tmp_path / "state.safetensors", {"note": "kept"})
    return tmp_path / "state.safetensors"


def test_the_file_is_safetensors(state: Path):
    with safe_open(state, framework="pt") as file:
        assert file.metadata()["note"] == "kept"
        assert set(file.keys()) == {
            *("candidates", "batch_images", "image_candidates", "largest", "top_values", "top_images", "top_places")
        }
        assert file.get_tensor("batch_images").tolist() == [3]


def rewrite(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Changes some of a file."""
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        text = file.metadata()
    save_file({**kept, **tensors}, path, {**text, **metadata})


@pytest.mark.parametrize(
    ("tensors", "metadata", "found"),
    [
        (
            {},
            {"format": "pydissect.counts"},
            "expected a file of format 'pydissect.one_pass', found 'pydissect.counts'",
        ),
        ({}, {"version": "2"}, "format version '2' is not known"),
        ({}, {"maps": "[5, 4, 3]"}, "expected places of candidates from 0 to 59"),
        ({}, {"maps": "[5, 4]"}, r"expected maps \[U, h, w\], found \[5, 4\]"),
        ({}, {"images": "4"}, "expected candidates of 4 images"),
        ({}, {"n_values": "0"}, "n_values: expected a positive whole number"),
        ({}, {"dtype": "fp64"}, "fp64"),
        ({"batch_images": torch.tensor([4])}, {}, "expected image_candidates of 4 images, found 3"),
        ({"batch_images": torch.tensor([3, -1, 1])}, {}, "expected no negative numbers"),
        ({"batch_images": torch.tensor([3.0])}, {}, "expected batch_images and image_candidates int64"),
        ({"image_candidates": torch.tensor([0, 0, 0])}, {}, "expected 0 bytes of candidates, found"),
        ({"image_candidates": torch.tensor([0, 0, 9**9])}, {}, "bytes of candidates or more, found"),
        ({"largest": torch.full((5, 3), torch.nan)}, {}, "expected no NaN"),
        ({"largest": torch.zeros(4, 3)}, {}, r"largest: expected torch.float32 \[5, 3\], found"),
        ({"top_images": torch.zeros(5, 2)}, {}, r"top_images: expected torch.int64 \[5, 2\], found torch.float32"),
    ],
)
def test_a_damaged_state_is_refused(state: Path, tensors: dict[str, Tensor], metadata: dict[str, str], found: str):
    rewrite(state, tensors, metadata)
    with pytest.raises(InputError, match=found) as raised:
        OnePass.load(state)
    assert str(state) in str(raised.value)


def test_places_that_would_be_written_twice_are_refused(state: Path):
    with safe_open(state, framework="pt") as file:
        candidates, counts = file.get_tensor("candidates").clone(), file.get_tensor("image_candidates")
    candidates[: 4 * int(counts.sum())] = 0
    rewrite(state, {"candidates": candidates}, {})
    with pytest.raises(InputError, match="expected places of candidates that rise within an image"):
        OnePass.load(state)


def test_half_a_state_is_refused(state: Path):
    state.write_bytes(state.read_bytes()[:-5])
    with pytest.raises(InputError, match="cannot be read as what a pass has left"):
        OnePass.load(state)
    with pytest.raises(InputError, match="no such file"):
        OnePass.load(state.with_suffix(".away"))


# --- the store ------------------------------------------------------------------------------------------


def test_the_file_leaves_nothing_behind(tmp_path: Path):
    store = CandidateStore(0, tmp_path)
    one = OnePass(6 * 16, 0.1, store=store)
    one.update(torch.randn(6, 3, 4, 4))
    assert store.spilled > 0
    assert store.held == 0
    assert list(tmp_path.iterdir()) == []
    assert len(list(one.replay())) > 0
    store.close()
    assert list(store.batches("")) == []


def test_memory_is_not_exceeded_between_batches():
    store = CandidateStore(20_000)
    one = OnePass(None, store=store)
    for _ in range(30):
        one.update(torch.randn(2, 8, 8, 8))
        assert store.held <= 20_000
    assert store.peak <= 20_000 + 2 * 8 * 8 * 8 * 8 + 100


def test_layers_of_a_store_are_kept_apart():
    store = CandidateStore(5000)
    acts = {layer: torch.randn(10, 3, 6, 6) for layer in ("a", "b")}
    ones = {layer: OnePass(None, store=store, layer=layer) for layer in acts}
    for i in range(0, 10, 2):
        for layer, one in ones.items():
            one.update(acts[layer][i : i + 2])
    assert store.spilled > 0
    for layer, one in ones.items():
        assert torch.equal(torch.cat([part for _, part in one.replay()]), acts[layer])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_on_the_disk(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Full:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def seek(self, *_: object) -> int:
            return 0

        def write(self, data: bytes) -> int:
            raise OSError(number, os.strerror(number))

        def close(self) -> None:
            pass

    monkeypatch.setattr(candidate_store.tempfile, "TemporaryFile", Full)
    one = OnePass(None, store=CandidateStore(100, tmp_path))
    with pytest.raises(InputError, match=r"memory: expected room in .* beyond 100 bytes .*--memory.*TMPDIR") as raised:
        one.update(torch.randn(2, 3, 4, 4))
    assert str(tmp_path) in str(raised.value)


def test_another_error_of_the_disk_is_not_taken_for_it(tmp_path: Path):
    one = OnePass(None, store=CandidateStore(0, tmp_path / "missing"))
    with pytest.raises(FileNotFoundError):
        one.update(torch.randn(2, 3, 4, 4))


def test_default_memory_is_a_part_of_the_machines():
    assert 2**26 < default_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


# --- top images -----------------------------------------------------------------------------------------


def test_top_images_of_shards_merge():
    acts = make_acts((20, 6, 5, 5), values="ties")
    number = 4
    whole, parts = OnePass(None, top_images=number), [OnePass(None, top_images=number) for _ in range(3)]
    whole.update(acts)
    cuts = [0, 3, 15, 20]
    for one, begin, end in zip(parts, cuts, cuts[1:], strict=False):
        one.images = begin  # their numbers in the dataset
        one.update(acts[begin:end])
    merged = parts[2].top
    assert merged is not None
    for one in parts[:2]:
        assert one.top is not None
        merged.merge(one.top)
    assert whole.top is not None
    for name in ("values", "images", "places"):
        assert torch.equal(getattr(merged, name), getattr(whole.top, name))
