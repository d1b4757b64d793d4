"""Masks on a device: sent batch by batch, or all of them once. The meta device stands for a GPU's memory."""

from pathlib import Path

import pytest
import torch
from strategies import make_case

from pydissect import Broden, mask_feed
from pydissect.mask_feed import MaskFeed, resident_masks
from pydissect.synth import make_dataset

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.fixture
def data(tmp_path: Path) -> Broden:
    make_dataset(tmp_path / "data", 4)
    return Broden(tmp_path / "data")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is free on the device, at each question."""
    asked = [2**40]
    monkeypatch.setattr(mask_feed, "free_memory", lambda device: asked[-1])
    return asked


def test_sends_only_the_batch() -> None:
    case = make_case(images=5, present=(3, 0, 5, 1, 4), concepts=6)
    feed = MaskFeed(META)
    for begin in range(0, 5, 2):
        batch = case.packed[begin : begin + 2]
        feed.send(batch, begin)
        assert feed.take().bitmaps.shape == batch.compact().bitmaps.shape


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
def test_batches_ahead(batch: int) -> None:
    case = make_case(images=5, present=(3, 0, 5, 1, 4), concepts=6)
    batches = [case.packed[begin : begin + batch] for begin in range(0, 5, batch)]
    for feed in (MaskFeed(CPU), MaskFeed(CPU, case.packed)):
        pairs = list(feed.ahead(batches))
        assert [given for given, _ in pairs] == batches
        for given, taken in pairs:
            assert torch.equal(given.unpack(), taken.unpack())
        assert list(feed.ahead([])) == []


def test_resident_masks_are_those_of_the_batch() -> None:
    case = make_case(images=5, present=(3, 0, 5, 1, 4), concepts=6)
    feed = MaskFeed(CPU, case.packed)
    for begin in range(0, 5, 2):
        feed.send(case.packed[begin : begin + 2], begin)
        taken = feed.take()
        assert torch.equal(taken.unpack(), case.masks[begin : begin + 2])
        assert taken.bitmaps is case.packed.bitmaps


def test_are_sent_once(data: Broden, free: list[int]) -> None:
    masks = data.masks
    first = resident_masks(data, "a", masks, META)
    again = resident_masks(data, "a", masks[:2], META)
    assert first is not None
    assert again is not None
    assert first.device == META
    assert again.bitmaps is first.bitmaps
    assert (len(first), len(again)) == (4, 2)


def test_are_sent_again_when_the_dataset_changed_or_more_are_needed(data: Broden, free: list[int]) -> None:
    masks = data.masks
    few = resident_masks(data, "a", masks[:2], META)
    all_of_them = resident_masks(data, "a", masks, META)
    changed = resident_masks(data, "b", masks, META)
    assert few is not None
    assert all_of_them is not None
    assert changed is not None
    assert len(few.bitmaps) == len(masks[:2].compact().bitmaps) < len(all_of_them.bitmaps)
    assert changed.bitmaps is not all_of_them.bitmaps


@pytest.mark.parametrize("spare", [0, -1])
def test_do_not_stay_where_they_take_too_much(data: Broden, free: list[int], spare: int) -> None:
    masks = data.masks
    free.append(4 * masks.compact().nbytes + spare)
    assert (resident_masks(data, "a", masks, META) is None) == (spare < 0)


def test_stay_no_longer_than_the_dataset(data: Broden, free: list[int]) -> None:
    resident_masks(data, "a", data.masks, META)
    before = len(mask_feed._resident)
    other = Broden(data.folder)
    resident_masks(other, "a", other.masks, META)
    assert len(mask_feed._resident) == before + 1
    del other
    assert len(mask_feed._resident) == before
    assert data in mask_feed._resident


def test_of_the_cpu_lie_where_they_are(data: Broden) -> None:
    assert resident_masks(data, "a", data.masks, CPU) is None
