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
    return store


def assert_top(found: TopImages | None, acts: Tensor, number: int) -> None:
    assert found is not None
    values = reference.finite_or_nan(acts).nan_to_num(nan=-torch.inf).flatten(2)
    for u in range(acts.shape[1]):
        largest, place = values[:, u].max(1).values.tolist(), values[:, u]
        order = sorted((n for n in range(len(acts)) if largest[n] > -torch.inf), key=lambda n: (-largest[n], n))
        ranked = order[:number]
        assert found.images[u, : len(ranked)].tolist() == ranked
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
    store.forget("a")
    assert list(store.batches("a")) == []
    assert torch.equal(torch.cat([part for _, part in ones["b"].replay()]), acts["b"])


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
