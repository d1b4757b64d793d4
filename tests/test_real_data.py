"""A real network on real photos: the reference's integers, and the labels that plain torch finds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from real_data import CHUNK, PlainCamvid, activations, plain_iou, plain_threshold, squeezenet, with_all
from test_sharding import in_shards
from torch import Tensor, nn

import pydissect
from pydissect import Broden, Dissection, reference
from pydissect.capture import LayerCapture

LAYERS = ["features.12", "features.8", "features.4"]
UNITS = {"features.12": 512, "features.8": 384, "features.4": 128}
BATCH = 32
FEW = 8  # images on which reference.counts itself, whose int64 product is slow, is run as it stands


@dataclass(frozen=True)
class Real:
    """What the tests of this file share: it takes half of their time."""

    model: nn.Module
    plain: PlainCamvid
    masks: Tensor  # [N, C, H, W] bool, by PlainCamvid
    result: Dissection
    acts: dict[str, Tensor]  # by plain hooks


def photos(plain: PlainCamvid, images: int) -> Iterator[Tensor]:
    """The batches that ``dissect`` makes. Another batch or memory format may round convolutions otherwise."""
    for first in range(0, images, BATCH):
        batch = plain.photos(first, min(first + BATCH, images))
        yield batch.contiguous(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def real(shared_data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path_factory.mktemp("cache")))
        model = squeezenet(shared_data_folder)
        data = Broden(shared_data_folder / "camvid_broden")
        result = pydissect.dissect(model, data, LAYERS, normalize="none", batch_size=BATCH)
        plain = PlainCamvid(shared_data_folder / "camvid_broden")
        masks = torch.stack([plain.masks(i) for i in range(len(plain.rows))])
        acts = activations(model, LAYERS, photos(plain, len(plain.rows)))
        yield Real(model, plain, masks, result, acts)


def test_the_dataset_is_whole(real: Real):
    assert len(real.plain.rows) == real.result.run["images"] == 468
    for layer in LAYERS:
        assert real.acts[layer].shape[:2] == (468, UNITS[layer])
    assert [c.number for c in real.result["features.12"].concepts] == real.plain.numbers


@pytest.mark.parametrize(("layer", "step"), [("features.12", 1), ("features.8", 4), ("features.4", 4)])
def test_counts_equal_the_reference_on_all_images(real: Real, layer: str, step: int):
    """Every integer of a layer's units, of two layers every fourth, upsampled and compared by the reference.

    The product of the bits is taken in fp32, an image at a time: its sums are whole numbers up to 112 x 112, which
    fp32 holds exactly, in any order. reference.counts, whose int64 product takes minutes, is run on fewer images below.
    """
    acts, found = real.acts[layer][:, ::step], real.result[layer]
    threshold = reference.thresholds(acts, 0.005)
    assert torch.equal(found.thresholds[::step], threshold)
    units, concepts = acts.shape[1], real.masks.shape[1]
    names = found.counts.categories.names
    of_concept = torch.tensor([names.index(category) for category in real.plain.categories])
    both = torch.zeros(units, concepts, dtype=torch.int64)
    areas = torch.zeros(units, len(names), dtype=torch.int64)
    area = torch.zeros(units, dtype=torch.int64)
    for n, masks in enumerate(real.masks):
        bits, carried = with_all(masks), masks.flatten(1).any(1)
        annotated = torch.tensor([bool(carried[of_concept == k].any()) for k in range(len(names))])
        for first in range(0, units, CHUNK):
            part = slice(first, first + CHUNK)
            pixels = reference.upsample(acts[n, part], (112, 112))
            on = (pixels > threshold[part, None, None]).flatten(1)
            sums = (on.float() @ bits.T).long()
            both[part] += sums[:, :-1]
            areas[part] += sums[:, -1:] * annotated
            area[part] += sums[:, -1]
    assert torch.equal(found.counts.intersection[::step], both)
    assert torch.equal(found.counts.unit_area[::step], areas)
    assert torch.equal(found.counts.unit_area_all[::step], area)
    assert torch.equal(found.counts.concept_area, real.masks.sum((0, 2, 3)))
    assert torch.equal(found.concept_images, real.masks.flatten(2).any(2).sum(0))
    # A fifth of the photos has no color annotation: the two areas of a unit must differ.
    assert (areas[:, names.index("color")] < area).any()


def test_all_layers_equal_the_reference_on_some_images(real: Real, monkeypatch, tmp_path: Path):
    """reference.thresholds and reference.counts as they stand, on what LayerCapture sees, three layers in one run."""
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path))
    data = Broden(real.plain.images.parent)
    result = pydissect.dissect(real.model, data, LAYERS, normalize="none", limit=FEW, batch_size=BATCH)
    (images,) = photos(real.plain, FEW)
    with LayerCapture(real.model, LAYERS, images[:1]) as capture:
        captured = capture(images)
    masks = real.masks[:FEW]
    names = data.categories
    of_concept = torch.tensor([names.index(category) for category in real.plain.categories])
    carried = masks.flatten(2).any(2)
    annotated = torch.stack([carried[:, of_concept == k].any(1) for k in range(len(names))], 1)
    for layer in LAYERS:
        acts, found = captured[layer], result[layer]
        threshold = reference.thresholds(acts, 0.005)
        both, areas, area, concept_area = reference.counts(acts, masks, threshold[None], annotated)
        assert torch.equal(found.thresholds, threshold)
        assert torch.equal(found.counts.intersection, both[0])
        assert torch.equal(found.counts.unit_area, areas[0])
        assert torch.equal(found.counts.unit_area_all, area[0])
        assert torch.equal(found.counts.concept_area, concept_area)
        iou = reference.iou(both[0], areas[0][:, of_concept], concept_area)
        assert torch.equal(found.labels.iou, iou.amax(1))


def test_one_pass_that_spills_equals_two_passes(real: Real, monkeypatch, tmp_path: Path):
    """Three layers in one run, of which two megabytes are kept in memory."""
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path))
    data = Broden(real.plain.images.parent)
    arguments = {"normalize": "none", "limit": 96, "batch_size": BATCH}
    two = pydissect.dissect(real.model, data, LAYERS, passes=2, **arguments)
    one = pydissect.dissect(real.model, data, LAYERS, memory=2 * 2**20, **arguments)
    assert one.run["candidates"]["spilled"] > 2 * 2**20
    for layer in LAYERS:
        assert torch.equal(one[layer].thresholds, two[layer].thresholds)
        for name in ("intersection", "unit_area", "unit_area_all", "concept_area"):
            assert torch.equal(getattr(one[layer].counts, name), getattr(two[layer].counts, name))
        assert one[layer].top_image_rows() == two[layer].top_image_rows()


def test_shards_equal_one_pass(real: Real, monkeypatch, tmp_path: Path):
    """Three layers in three shards, each through a file."""
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    data = Broden(real.plain.images.parent)
    whole = pydissect.dissect(real.model, data, LAYERS, normalize="none", limit=80, batch_size=BATCH)
    more = {"quantile": 0.005, "top_images": 10, "per_image": False}
    found = in_shards(real.model, data, LAYERS, 3, tmp_path, BATCH, limit=80, **more)
    for layer in LAYERS:
        assert torch.equal(found[layer].thresholds, whole[layer].thresholds)
        assert found[layer].counts == whole[layer].counts
        assert found[layer].top_image_rows() == whole[layer].top_image_rows()


def test_little_is_kept(real: Real):
    """Of all activations of the three layers, less than a tenth at any time."""
    dense = sum(acts.nbytes for acts in real.acts.values())
    assert real.result.run["candidates"]["peak"] < dense / 10


@pytest.mark.parametrize("layer", LAYERS)
def test_plain_torch_finds_the_same_labels(real: Real, layer: str):
    """All labels of all 1,024 units, although F.interpolate rounds otherwise."""
    acts, found = real.acts[layer], real.result[layer]
    threshold = plain_threshold(acts, 5 * len(acts) * acts.shape[2] * acts.shape[3] // 1000)
    assert torch.equal(found.thresholds, threshold)
    iou = plain_iou(acts, real.masks, real.plain.categories, threshold)
    best, label = iou.max(1)
    assert torch.equal(found.labels.concept, torch.where(best > 0, label, -1))
    assert torch.equal(found.labels.iou > 0.04, best > 0.04)
    torch.testing.assert_close(found.counts.iou(), iou, rtol=0, atol=1e-4)


def test_real_detectors(real: Real):
    found = real.result["features.12"]
    detectors = [row for row in found.unit_rows() if row["detector"]]
    assert 35 <= len(detectors) == found.summary.detectors <= 47
    assert {"bicyclist", "red-c", "car"} <= {row["label"] for row in detectors}
    # Half a percent of the pixels cannot match a scene, which has all pixels of most photos.
    assert found.summary.categories["scene"].detectors == 0
