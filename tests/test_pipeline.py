"""`pydissect.dissect` from Python: against the reference, on models and data of every kind it takes."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from broden_builder import BrodenBuilder
from torch import Tensor, nn

import pydissect
from pydissect import Broden, InputError, PackedMasks, ReceptiveField, dissect, reference
from pydissect.categories import Categories

IMAGES = 12
UNITS = 5
CONCEPTS = ["dog", "cat", "red", "street"]
CATEGORIES = ["object", "object", "color", "scene"]
QUANTILE = 0.05


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def images(number: int = IMAGES) -> Tensor:
    return torch.randn(number, 3, 16, 24, generator=generator())


def masks(number: int = IMAGES) -> Tensor:
    """Bool ``[N, 4, 16, 24]``: image 0 has no label, image 1 is street as a whole, and others carry some concepts."""
    blobs = nn.functional.interpolate(torch.randn(number, 4, 4, 4, generator=generator()), (16, 24), mode="bilinear")
    carries = torch.rand(number, 4, 1, 1, generator=generator()) < 0.7
    result = (blobs > 0.3) & carries
    result[0] = False
    result[1:2, 3] = True
    return result


def label_maps(number: int = IMAGES) -> Tensor:
    return torch.randint(0, 5, (number, 16, 24), generator=generator())


def batches(one: Tensor, other: object, size: int) -> list[tuple[Tensor, object]]:
    return [(one[i : i + size], other[i : i + size]) for i in range(0, len(one), size)]  # type: ignore[index]


class Mix(nn.Module):
    """Pooled, then mixed pixel by pixel in a fixed order: the same to the bit in batches of any size."""

    def __init__(self, pool: int, units: int = UNITS) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(pool)
        self.register_buffer("weight", torch.randn(units, 3, generator=generator()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        w = self.weight[:, :, None, None]
        return x[:, 0:1] * w[:, 0] + x[:, 1:2] * w[:, 1] + x[:, 2:3] * w[:, 2]


class Then(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


def net(**more: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(mix=Mix(4), **more))


def expected(acts: Tensor, bits: Tensor, of_concept: Tensor, annotated: Tensor, grid="half_pixel", quantile=QUANTILE):
    """Thresholds, counts and the IoU of both unions by the reference."""
    threshold = reference.thresholds(acts, quantile)
    both, areas, area, concept_area = (
        counts.squeeze(0) if counts.ndim > 1 else counts
        for counts in reference.counts(acts, bits, threshold[None], annotated, grid)
    )
    iou = {
        "category": reference.iou(both, areas[:, of_concept], concept_area),
        "all": reference.iou(both, area[:, None], concept_area),
    }
    return threshold, (both, areas, area, concept_area), iou


def assert_equal(found: pydissect.LayerDissection, wanted, union: str = "category") -> None:
    threshold, (both, areas, area, concept_area), iou = wanted
    assert torch.equal(found.thresholds, threshold)
    assert torch.equal(found.counts.intersection, both)
    assert torch.equal(found.counts.unit_area, areas)
    assert torch.equal(found.counts.unit_area_all, area)
    assert torch.equal(found.counts.concept_area, concept_area)
    assert torch.equal(found.labels.iou, iou[union].amax(1))
    assert area.sum() > 0
    assert both.sum() > 0


def annotation(bits: Tensor) -> tuple[Tensor, Tensor]:
    """Of the four concepts in three categories: each concept's category, and where each is annotated."""
    of_concept = torch.tensor([0, 0, 1, 2])
    carried = bits.flatten(2).any(2)
    return of_concept, torch.stack([carried[:, of_concept == k].any(1) for k in range(3)], 1)


SINGLE = torch.zeros(4, dtype=torch.int64), torch.ones(IMAGES, 1, dtype=torch.bool)


# --- kinds of data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bool", "numpy", "packed", "labels", "numpy labels"])
@pytest.mark.parametrize("with_categories", [False, True])
def test_kinds_of_masks(kind: str, with_categories: bool):
    x, names = images(), CATEGORIES if with_categories else None
    maps = label_maps()
    bits = torch.stack([maps == label for label in range(1, 5)], 1) if "labels" in kind else masks()
    own: object = maps if "labels" in kind else bits
    if kind == "packed":
        own = PackedMasks.from_bool(bits, categories=names)
        names = None  # they come with the masks
    if "numpy" in kind:
        own = own.numpy()  # type: ignore[attr-defined]
    found = dissect(net(), batches(x, own, 5), "mix", quantile=QUANTILE, categories=names)["mix"]
    of_concept, annotated = annotation(bits) if with_categories else SINGLE
    assert_equal(found, expected(Mix(4)(x), bits, of_concept, annotated))
    assert found.counts.categories.names == (("object", "color", "scene") if with_categories else ("concept",))
    assert found.counts.categories.of_concept.tolist() == of_concept.tolist()
    assert torch.equal(found.concept_images, bits.flatten(2).any(2).sum(0))


def test_images_may_be_numpy_too():
    data = [(one.numpy(), two) for one, two in batches(images(), masks(), 5)]
    found = dissect(net(), data, "mix", quantile=QUANTILE)["mix"]
    assert_equal(found, expected(Mix(4)(images()), masks(), *SINGLE))


def test_data_loader():
    dataset = torch.utils.data.TensorDataset(images(), masks())
    found = dissect(net(), torch.utils.data.DataLoader(dataset, batch_size=5), "mix", quantile=QUANTILE)["mix"]
    assert_equal(found, expected(Mix(4)(images()), masks(), *SINGLE))


def test_labels_of_a_batch_that_lacks_the_last_concepts():
    """Each batch of label maps shows its own largest label; the dataset has the largest of all."""
    maps = label_maps()
    maps[:8] = maps[:8].clamp(max=2)
    bits = torch.stack([maps == label for label in range(1, 5)], 1)
    for data in (batches(images(), maps, 4), batches(images(), maps, 4)[::-1]):
        x = torch.cat([one for one, _ in data])
        order = torch.cat([two for _, two in data])
        bits = torch.stack([order == label for label in range(1, 5)], 1)
        assert_equal(dissect(net(), data, "mix", quantile=QUANTILE)["mix"], expected(Mix(4)(x), bits, *SINGLE))


def test_names_of_concepts():
    data = batches(images(), masks(), 5)
    found = dissect(net(), data, "mix", quantile=QUANTILE, concepts=CONCEPTS, categories=CATEGORIES)["mix"]
    assert [(c.number, c.name, c.category) for c in found.concepts] == [
        (number, name, category) for number, name, category in zip((1, 2, 3, 4), CONCEPTS, CATEGORIES, strict=True)
    ]
    assert {row["label"] for row in found.unit_rows()} <= {*CONCEPTS, ""}
    unnamed = dissect(net(), data, "mix", quantile=QUANTILE)["mix"]
    assert [c.name for c in unnamed.concepts] == ["concept 0", "concept 1", "concept 2", "concept 3"]


def test_more_concepts_than_labels_seen():
    """The names say how many concepts there are."""
    maps = label_maps().clamp(max=2)
    found = dissect(net(), batches(images(), maps, 5), "mix", quantile=QUANTILE, concepts=CONCEPTS)["mix"]
    assert found.counts.concept_area[2:].tolist() == [0, 0]


@pytest.mark.parametrize("limit", [1, 5, 7, 12, 100])
def test_limit(limit: int):
    found = dissect(net(), batches(images(), masks(), 5), "mix", quantile=QUANTILE, limit=limit)
    x, bits = images()[:limit], masks()[:limit]
    assert found.run["images"] == len(x)
    wanted = expected(Mix(4)(x), bits, SINGLE[0], SINGLE[1][:limit])
    assert torch.equal(found["mix"].thresholds, wanted[0])
    assert torch.equal(found["mix"].counts.intersection, wanted[1][0])
    assert torch.equal(found["mix"].counts.unit_area_all, wanted[1][2])


@pytest.mark.parametrize("sizes", [(12,), (1,) * 12, (5, 5, 2), (1, 7, 4), (3, 0, 9)])
def test_batches_of_any_sizes(sizes: tuple[int, ...]):
    data = list(zip(images().split(sizes), masks().split(sizes), strict=True))
    assert_equal(dissect(net(), data, "mix", quantile=QUANTILE)["mix"], expected(Mix(4)(images()), masks(), *SINGLE))


# --- settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("union", ["category", "all"])
@pytest.mark.parametrize("quantile", [0.05, 0.29, 0.9])
def test_union_and_quantile(union: str, quantile: float):
    bits = masks()
    found = dissect(net(), batches(images(), bits, 5), "mix", quantile=quantile, union=union, categories=CATEGORIES)[
        "mix"
    ]
    wanted = expected(Mix(4)(images()), bits, *annotation(bits), quantile=quantile)
    assert_equal(found, wanted, union)
    # Image 0 is annotated for nothing, so the two differ.
    assert not torch.equal(wanted[2]["category"], wanted[2]["all"])
    for u, row in enumerate(found.unit_rows()):
        c = int(found.labels.concept[u])
        _, (both, areas, area, concept_area), iou = wanted
        k = annotation(bits)[0][c]
        assert row["iou"] == float(iou[union][u].amax()) == float(iou[union][u, c])
        assert row["unit_area"] == int(areas[u, k] if union == "category" else area[u])
        assert (row["intersection"], row["concept_area"]) == (int(both[u, c]), int(concept_area[c]))
        assert math.isclose(
            row["iou"], row["intersection"] / (row["unit_area"] + row["concept_area"] - row["intersection"])
        )


@pytest.mark.parametrize("grid", ["align_corners", ReceptiveField(2.5, 4.0, (16, 24)), ReceptiveField(0, (3, 5), 20)])
def test_grid(grid):
    found = dissect(net(), batches(images(), masks(), 5), "mix", quantile=QUANTILE, grid=grid)["mix"]
    wanted = expected(Mix(4)(images()), masks(), *SINGLE, grid=grid)
    assert_equal(found, wanted)
    assert not torch.equal(wanted[1][0], expected(Mix(4)(images()), masks(), *SINGLE)[1][0])


@pytest.mark.parametrize("backend", ["auto", "cpu", "reference"])
def test_backend(backend: str):
    found = dissect(net(), batches(images(), masks(), 5), "mix", quantile=QUANTILE, backend=backend)
    assert_equal(found["mix"], expected(Mix(4)(images()), masks(), *SINGLE))
    assert found.run["backend"] == ("cpu" if backend == "auto" else backend)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype):
    found = dissect(net().to(dtype), batches(images().to(dtype), masks(), 5), "mix", quantile=QUANTILE)["mix"]
    acts = Mix(4).to(dtype)(images().to(dtype))
    assert acts.dtype == dtype
    assert_equal(found, expected(acts, masks(), *SINGLE))


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_mixed_precision(name: str, dtype: torch.dtype, backend: str):
    """The network rounds, the counting does not."""
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, UNITS, 3, stride=4)))
    model.to(memory_format=torch.channels_last)  # as dissect does; it rounds otherwise
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=name != "fp32"):
        acts = model(images().contiguous(memory_format=torch.channels_last))
    assert acts.dtype == dtype
    data = batches(images(), masks(), IMAGES)
    found = dissect(model, data, "conv", quantile=QUANTILE, dtype=name, backend=backend)
    assert_equal(found["conv"], expected(acts.clone(), masks(), *SINGLE))
    assert found.run["settings"]["dtype"] == name


def test_iou_threshold():
    data = batches(images(), masks(), 5)
    counts = [
        dissect(net(), data, "mix", quantile=QUANTILE, iou_threshold=threshold)["mix"].summary.detectors
        for threshold in (0, 1)
    ]
    assert counts == [UNITS, 0]


def test_quantile_that_leaves_nothing_warns():
    with pytest.warns(UserWarning, match="quantile 0.0001") as caught:
        found = dissect(net(), batches(images(), masks(), 5), "mix", quantile=0.0001)["mix"]
    assert len(caught) == 1
    assert found.counts.unit_area_all.tolist() == [0] * UNITS
    assert [row["label"] for row in found.unit_rows()] == [""] * UNITS
    assert {(row["concept"], row["category"], row["iou"], row["detector"]) for row in found.unit_rows()} == {
        ("", "", 0.0, False)
    }


# --- layers and models ----------------------------------------------------------------------------------


def deep() -> nn.Sequential:
    return net(pool=nn.AvgPool2d(2), twice=Then(lambda x: x * 2), flat=Then(lambda x: x.amax((2, 3))))


@pytest.mark.parametrize("layers", [["mix", "pool", "flat"], ["flat", "mix", "pool"], ["pool"]])
def test_several_layers_in_any_order(layers: list[str]):
    found = dissect(deep(), batches(images(), masks(), 5), layers, quantile=0.2)
    assert list(found) == layers
    assert len(found) == len(layers)
    acts = {"mix": Mix(4)(images())}
    acts["pool"] = nn.functional.avg_pool2d(acts["mix"], 2)
    acts["flat"] = (acts["pool"] * 2).amax((2, 3))[:, :, None, None]
    for name in layers:
        assert_equal(found[name], expected(acts[name], masks(), *SINGLE, quantile=0.2))


def test_the_pass_ends_after_the_last_layer():
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("not to be reached")

    model = net(end=Then(fail))
    assert_equal(
        dissect(model, batches(images(), masks(), 5), "mix", quantile=QUANTILE)["mix"],
        expected(Mix(4)(images()), masks(), *SINGLE),
    )


def test_relu_in_place_after_the_layer():
    """The layer's own output counts, not what the next module makes of its memory."""
    model = net(relu=nn.ReLU(inplace=True), pool=nn.AvgPool2d(2))
    found = dissect(model, batches(images(), masks(), 5), ["mix", "relu", "pool"], quantile=0.9)
    acts = Mix(4)(images())
    assert_equal(found["mix"], expected(acts, masks(), *SINGLE, quantile=0.9))
    assert_equal(found["relu"], expected(acts.relu(), masks(), *SINGLE, quantile=0.9))
    assert found["mix"].thresholds.max() < 0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("failing", [True, False])
def test_the_model_is_left_in_its_mode(training: bool, failing: bool):
    model = net(norm=nn.BatchNorm2d(UNITS), drop=nn.Dropout(0.5)).train(training)
    model.drop.train(not training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = batches(images() * (torch.nan if failing else 1), masks(), 5)
    if failing:
        with pytest.raises(InputError, match="non-finite"):
            dissect(model, data, "drop", quantile=QUANTILE)
    else:
        found = dissect(model, data, "drop", quantile=QUANTILE)["drop"]
        # In eval mode: nothing is dropped, and the running statistics are used.
        acts = Mix(4)(images()) / math.sqrt(1 + 1e-5)
        torch.testing.assert_close(found.thresholds, reference.thresholds(acts, QUANTILE))
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes == {"": training, "mix": training, "mix.pool": training, "norm": training, "drop": not training}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_parameters_need_no_gradient_and_get_none():
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, UNITS, 1)))
    found = dissect(model, batches(images(), masks(), 5), "conv", quantile=QUANTILE)["conv"]
    assert model.conv.weight.requires_grad
    assert model.conv.weight.grad is None
    assert not found.thresholds.requires_grad


# --- progress -------------------------------------------------------------------------------------------


def test_progress():
    calls: list[tuple[str, int, int]] = []
    dissect(net(), batches(images(), masks(), 5), "mix", quantile=QUANTILE, progress=lambda *call: calls.append(call))
    assert calls == [(stage, done, 12) for stage in ("running the model", "counting") for done in (0, 5, 10, 12)]


def test_run_facts():
    run = dissect(net(), batches(images(), masks(), 5), "mix", quantile=QUANTILE, union="all").run
    assert (run["images"], run["concepts"], run["categories"]) == (12, 4, ["concept"])
    assert run["layers"] == {"mix": [UNITS, 4, 6]}
    assert run["settings"] | {"quantile": QUANTILE, "union": "all", "grid": "half_pixel"} == run["settings"]
    assert set(run["seconds"]) == {"masks", "model", "counting"}
    assert run["versions"]["pydissect"] == pydissect.__version__
    assert run["versions"]["torch"] == torch.__version__


# --- one pass and two -----------------------------------------------------------------------------------


def assert_same(one: pydissect.LayerDissection, other: pydissect.LayerDissection) -> None:
    assert torch.equal(one.thresholds, other.thresholds)
    for name in ("intersection", "unit_area", "unit_area_all", "concept_area"):
        assert torch.equal(getattr(one.counts, name), getattr(other.counts, name))
    assert torch.equal(one.concept_images, other.concept_images)
    for name in ("values", "images", "places"):
        assert torch.equal(getattr(one.top, name), getattr(other.top, name))
    assert one.concepts == other.concepts


@pytest.mark.parametrize("kind", ["list", "generator", "limit"])
@pytest.mark.parametrize("memory", [None, 0])
def test_one_pass_equals_two(kind: str, memory: int | None):
    data = batches(images(), label_maps(), 5)
    two = dissect(net(relu=nn.ReLU()), data, ["mix", "relu"], quantile=QUANTILE, passes=2)
    stream = data if kind == "list" else (batch for batch in data)
    limit = 20 if kind == "limit" else None
    one = dissect(net(relu=nn.ReLU()), stream, ["mix", "relu"], quantile=QUANTILE, memory=memory, limit=limit)
    for layer in ("mix", "relu"):
        assert_same(one[layer], two[layer])
    assert one.run["images"] == two.run["images"] == IMAGES
    assert one.run["candidates"]["bound"] == {"list": "exact", "generator": "none", "limit": "limit"}[kind]
    assert (one.run["candidates"]["spilled"] > 0) == (memory == 0)
    assert two.run["candidates"] is None


def test_a_limit_below_the_number_of_images():
    data = batches(images(), masks(), 5)
    one = dissect(net(), iter(data), "mix", quantile=QUANTILE, limit=7)
    assert_same(one["mix"], dissect(net(), data, "mix", quantile=QUANTILE, limit=7, passes=2)["mix"])
    assert one.run["images"] == 7


@pytest.mark.parametrize("passes", [1, 2])
def test_several_quantiles(passes: int):
    data = batches(images(), masks(), 5)
    found = dissect(net(), data, "mix", quantile=["0.05", 0.2], passes=passes)
    assert list(found) == ["mix@0.05", "mix@0.2"]
    for quantile in (0.05, 0.2):
        each = found[f"mix@{quantile}"]
        assert_equal(each, expected(Mix(4)(images()), masks(), *SINGLE, quantile=quantile))
        assert_same(each, dissect(net(), data, "mix", quantile=quantile, passes=passes)["mix"])
    assert found.run["settings"]["quantile"] == [0.05, 0.2]


def test_top_images_and_where():
    acts = Mix(4)(images()).flatten(2)
    top = dissect(net(), batches(images(), masks(), 5), "mix", top_images=4)["mix"]
    rows = top.top_image_rows()
    assert [(row["unit"], row["rank"]) for row in rows] == [(u, rank) for u in range(UNITS) for rank in range(1, 5)]
    for row in rows:
        values = acts[:, row["unit"]].max(1).values
        assert row["image"] == int(values.argsort(descending=True)[row["rank"] - 1])
        assert float(row["activation"]) == pytest.approx(float(values[row["image"]]), rel=1e-6)
        assert acts[row["image"], row["unit"]].argmax() == row["y"] * 6 + row["x"]
        assert row["name"] == f"number {row['image']}"


def test_no_top_images(tmp_path: Path):
    dissect(net(), batches(images(), masks(), 5), "mix", top_images=0).save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "layers" / "mix").iterdir()} == {
        *("units.csv", "concepts.csv", "counts.safetensors")
    }


@pytest.mark.parametrize("passes", [1, 2])
def test_per_image_counts_add_up(passes: int, tmp_path: Path):
    result = dissect(net(), batches(images(), masks(), 5), "mix", quantile=QUANTILE, per_image=True, passes=passes)
    found = result["mix"]
    assert found.per_image is not None
    both, area = torch.zeros_like(found.counts.intersection), torch.zeros_like(found.counts.unit_area_all)
    _, unit, concept, pixels = found.per_image.intersections.T
    both.index_put_((unit, concept), pixels, accumulate=True)
    _, unit, pixels = found.per_image.areas.T
    area.index_put_((unit,), pixels, accumulate=True)
    assert torch.equal(both, found.counts.intersection)
    assert torch.equal(area, found.counts.unit_area_all)
    result.save(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "layers" / "mix").iterdir()}
    assert {"image_areas.parquet", "image_intersections.parquet"} < names


def test_masks_of_fewer_concepts_in_a_later_batch():
    data = [(images()[:5], masks()[:5]), (images()[5:], masks()[5:, :3])]
    with pytest.raises(InputError, match="masks: expected 4 concepts, found 3"):
        dissect(net(), data, "mix")


# --- Broden ---------------------------------------------------------------------------------------------


@pytest.fixture
def broden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Broden:
    monkeypatch.setenv("PYDISSECT_CACHE", str(tmp_path / "cache"))
    return Broden(BrodenBuilder(tmp_path / "data").write())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
@pytest.mark.parametrize("workers", [0, 1, 2, None])
def test_broden(broden: Broden, batch_size: int, workers: int | None):
    model = nn.Sequential(OrderedDict(mix=Mix(2)))
    found = dissect(model, broden, "mix", quantile=0.1, normalize="none", batch_size=batch_size, workers=workers)["mix"]
    pictures = np.stack([broden.read_image(i) for i in range(3)])
    acts = Mix(2)(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    masks = broden.masks
    wanted = expected(acts, masks.unpack(), masks.categories.of_concept, masks.annotated.bool(), quantile=0.1)
    assert_equal(found, wanted)
    assert [(c.number, c.name, c.category) for c in found.concepts] == [
        (1, "dog", "object"),
        (2, "leg", "part"),
        (7, "street", "scene"),
        (9, "unused", "part"),
        (300, "red, bright", "color"),
    ]
    assert [row["images"] for row in found.concept_rows()] == [1, 1, 2, 0, 1]


@pytest.mark.parametrize("input_size", [6, (4, 10)])
def test_broden_at_another_size(broden: Broden, input_size):
    model = nn.Sequential(OrderedDict(mix=Mix(2)))
    found = dissect(model, broden, "mix", quantile=0.2, input_size=input_size, normalize="0,0,0/1,1,1")["mix"]
    size = (6, 6) if input_size == 6 else (4, 10)
    pictures = np.stack([broden.read_image(i, size) for i in range(3)])
    acts = Mix(2)(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
    assert found.map_size == (size[0] // 2, size[1] // 2)
    masks = broden.masks
    wanted = expected(acts, masks.unpack(), masks.categories.of_concept, masks.annotated.bool(), quantile=0.2)
    assert_equal(found, wanted)


def test_broden_split_and_limit(broden: Broden):
    model = nn.Sequential(OrderedDict(mix=Mix(2)))
    train = Broden(broden.folder, "train")
    found = dissect(model, train, "mix", quantile=0.2, normalize="none", limit=1)
    assert found.run["images"] == 1
    acts = Mix(2)(torch.from_numpy(train.read_image(0)).permute(2, 0, 1)[None].float() / 255)
    masks = train.masks[:1]
    wanted = expected(acts, masks.unpack(), masks.categories.of_concept, masks.annotated.bool(), quantile=0.2)
    assert_equal(found["mix"], wanted)


def test_broden_progress(broden: Broden):
    calls: list[tuple[str, int, int]] = []
    model = nn.Sequential(OrderedDict(mix=Mix(2)))
    dissect(model, broden, "mix", quantile=0.2, batch_size=2, progress=lambda *call: calls.append(call))
    packing = [("packing masks", done, 3) for done in (0, 1, 2, 3)]
    assert calls == packing + [(stage, done, 3) for stage in ("running the model", "counting") for done in (0, 2, 3)]


# --- non-finite activations -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**126])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nonfinite_names_unit_and_image(value: float, backend: str):
    """Of the first image that has one, in the order of the data, the first unit."""
    x = images()
    acts = Mix(4)(x)
    acts[[7, 9], [3, 1], 2, 2] = value
    acts[7, 4, 0, 0] = value
    data = batches(acts, masks(), 5)
    model = nn.Sequential(OrderedDict(same=nn.Identity()))
    with pytest.raises(InputError, match=r"layer 'same': unit 3 .* on image number 7"):
        dissect(model, data, "same", quantile=QUANTILE, backend=backend)
    found = dissect(model, data, "same", quantile=QUANTILE, backend=backend, nonfinite="off")["same"]
    assert_equal(found, expected(acts, masks(), *SINGLE))


def test_nonfinite_names_the_image_file(broden: Broden):
    def spoil(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 1] = torch.where(x[:, 1] == bad, torch.nan, x[:, 1])
        return x

    bad = torch.tensor(broden.read_image(1)[3, 4, 1] / np.float32(255))
    clean = torch.from_numpy(broden.read_image(0)[..., 1] / np.float32(255))
    assert not (clean == bad).any()
    model = nn.Sequential(OrderedDict(spoil=Then(spoil)))
    with pytest.raises(InputError, match=r"layer 'spoil': unit 1 .* on image a/y.png"):
        dissect(model, broden, "spoil", quantile=0.1, normalize="none", batch_size=2)


# --- what is refused ------------------------------------------------------------------------------------


def good() -> list[tuple[Tensor, object]]:
    return batches(images(), masks(), 5)


class Once:
    """Looks like a list, gives its batches once."""

    def __init__(self) -> None:
        self.left = iter(good())

    def __iter__(self) -> Iterator[tuple[Tensor, object]]:
        return self.left


class Growing:
    """Gives a batch more each time."""

    def __init__(self) -> None:
        self.times = 0

    def __iter__(self) -> Iterator[tuple[Tensor, object]]:
        self.times += 1
        return iter(good()[: self.times])


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"batch_size": 0}, "batch_size: .* found 0"),
        ({"batch_size": 2.5}, "batch_size: .* found 2.5"),
        ({"limit": 0}, "limit: .* found 0"),
        ({"limit": -3}, "limit: .* found -3"),
        ({"workers": -1}, "workers: .* found -1"),
        ({"input_size": 0}, "input_size: .* found 0"),
        ({"input_size": (32, -1)}, "input_size: .* found -1"),
        ({"quantile": 0}, "quantile: .* found 0"),
        ({"quantile": 1.0}, "quantile: .* found 1.0"),
        ({"quantile": math.nan}, "quantile: .* found nan"),
        ({"quantile": [0.1, 0.2, 0.1]}, r"quantile: expected each once, found 0.1, 0.2, 0.1"),
        ({"quantile": [0.1, 2]}, "quantile: .* found 2"),
        ({"passes": 3}, "passes: expected 1 or 2, found 3"),
        ({"memory": -1}, "memory: .* found -1"),
        ({"top_images": -1}, "top_images: .* found -1"),
        ({"iou_threshold": 1.5}, "iou_threshold: .* found 1.5"),
        ({"iou_threshold": math.nan}, "iou_threshold: .* found nan"),
        ({"union": "some"}, "union: .* found 'some'"),
        ({"grid": "half"}, "grid: .* found 'half'"),
        ({"dtype": "int8"}, "dtype: expected fp32, fp16, bf16, found 'int8'"),
        ({"nonfinite": "ignore"}, "nonfinite: .* found 'ignore'"),
        ({"normalize": "vgg"}, "normalize: .* found 'vgg'"),
        ({"backend": "fast"}, "backend: .* found 'fast'"),
        ({"concepts": ["dog"]}, "concepts: .* 4 concepts .* found 1"),
        ({"concepts": CONCEPTS, "data": [(images(), label_maps() + 1)]}, "concepts: .* 5 concepts .* found 4"),
        ({"categories": ["object"]}, "categories: .* 4 concepts, found 1"),
        ({"layers": "mux"}, "layer 'mux': .* did you mean 'mix'"),
        ({"layers": []}, "layers: .* found none"),
        ({"layers": ["mix", "mix"]}, "layer 'mix': .* twice"),
        ({"passes": 2, "data": iter(good())}, "data: .* several times, found list_iterator"),
        ({"passes": 2, "data": (batch for batch in good())}, "data: .* several times, found generator"),
        ({"passes": 2, "data": Once()}, "data: expected 12 images .* found 0"),
        ({"passes": 2, "data": Growing()}, "data: expected 5 images .* found 10"),
        ({"data": []}, "data: .* found none"),
        ({"data": 5}, "data: .* found int"),
        ({"data": images()}, "data: .*found"),
        ({"data": [(images(),)]}, "data: .* found tuple"),
        ({"data": [("cat.png", masks())]}, "data: images: .* found str"),
        ({"data": [(images()[0], masks())]}, r"data: expected images .* found shape \[3, 16, 24\]"),
        ({"data": [(images(), masks()[:5])]}, "data: expected masks of the batch's 12 images, found 5"),
        ({"data": [(images(), masks().float())]}, "masks: .* found float32"),
        ({"data": [(images(), masks().to(torch.uint8))]}, r"masks: .* found uint8 .*\.bool\(\)"),
        ({"data": [(images(), [1, 2, 3])]}, "masks: .* found list"),
        ({"data": [(images().double(), masks())]}, "layer 'mix': .* found float64"),
    ],
)
def test_refused(arguments: dict, found: str):
    call = {"model": net(), "data": good(), "layers": "mix", "quantile": QUANTILE} | arguments
    with pytest.raises(InputError, match=found) as raised:
        dissect(**call)
    assert "\n" not in str(raised.value)


def test_masks_of_a_later_batch_are_wrong():
    data = good()
    data[1] = (data[1][0], data[1][1][:3])  # type: ignore[index]
    with pytest.raises(InputError, match="5 images, found 3"):
        dissect(net(), data, "mix", quantile=QUANTILE)


def test_packed_masks_of_other_categories_in_a_later_batch():
    data = batches(images(), PackedMasks.from_bool(masks(), categories=CATEGORIES), 6)
    data[0] = (data[0][0], PackedMasks.from_bool(masks()[:6], categories=["object"] * 4))
    with pytest.raises(InputError, match="categories"):
        dissect(net(), data, "mix", quantile=QUANTILE)


def test_masks_of_another_size_in_a_later_batch_count():
    """A batch of another mask size, say of a DataLoader over two datasets, counts in its own pixels."""
    small = nn.functional.max_pool2d(masks()[6:].float(), 2) > 0
    data = [(images()[:6], masks()[:6]), (images()[6:], small)]
    found = dissect(net(), data, "mix", quantile=QUANTILE)["mix"]
    acts = Mix(4)(images())
    threshold = reference.thresholds(acts, QUANTILE)
    halves = [
        reference.counts(acts[part], bits, threshold[None], SINGLE[1][part])
        for part, bits in ((slice(0, 6), masks()[:6]), (slice(6, 12), small))
    ]
    assert torch.equal(found.counts.intersection, halves[0][0][0] + halves[1][0][0])
    assert torch.equal(found.counts.unit_area_all, halves[0][2][0] + halves[1][2][0])


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x: [], "layer 'odd': expected a tensor, found list"),
        (lambda x: x.sum(), r"layer 'odd': expected a tensor \[B, U, h, w\]"),
        (lambda x: x.double(), "layer 'odd': .* found float64"),
        (lambda x: x[:, :, : 2 + len(x)], r"layer 'odd': .* \[5, 3, 6\] .* found \[5, 4, 6\]"),
    ],
)
def test_layers_that_cannot_be_dissected(function, found: str):
    with pytest.raises(InputError, match=found):
        dissect(net(odd=Then(function), end=Then(lambda x: x)), good(), "odd", quantile=QUANTILE)


def test_layer_that_never_runs():
    model = net()
    model.mix.spare = nn.Identity()
    with pytest.raises(InputError, match=r"layer 'mix.spare': .* never"):
        dissect(model, good(), "mix.spare", quantile=QUANTILE)


def test_layer_that_runs_twice_warns():
    model = net()
    model.mix.pool = nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(2))
    model.mix.pool[1] = model.mix.pool[0]
    with pytest.warns(UserWarning, match=r"layer 'mix.pool.0' runs 2 times"):
        found = dissect(model, good(), "mix.pool.0", quantile=QUANTILE)["mix.pool.0"]
    pooled = nn.functional.avg_pool2d(nn.functional.avg_pool2d(images(), 2), 2)
    assert_equal(found, expected(pooled, masks(), *SINGLE))


def test_categories_without_a_concept():
    """Packed masks may have a category that no concept is of."""
    categories = Categories(("part", "object"), torch.ones(4, dtype=torch.int64))
    packed = PackedMasks.from_bool(masks(), categories=categories)
    found = dissect(net(), batches(images(), packed, 5), "mix", quantile=QUANTILE)["mix"]
    assert found.summary.categories["part"].detectors == 0
    assert {row["part_label"] for row in found.unit_rows()} == {""}


def test_label_maps_of_uint16():
    maps = (torch.arange(4 * 8 * 8).reshape(4, 8, 8) % 5).numpy().astype(np.uint16)
    pictures = torch.rand(4, 3, 16, 16)
    model = nn.Sequential(OrderedDict(mix=Mix(2)))
    found = dissect(model, [(pictures, maps)], "mix", quantile=0.2)["mix"]
    wanted = dissect(model, [(pictures, torch.from_numpy(maps.astype(np.int64)))], "mix", quantile=0.2)["mix"]
    assert found.counts == wanted.counts
