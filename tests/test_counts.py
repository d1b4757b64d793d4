"""The integers behind the IoU: adding, scoring, files."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors.torch import load_file, save_file
from strategies import Case, cases, make_case
from torch import Tensor

from pydissect.categories import Categories
from pydissect.counts import VERSION, Counts, best_of
from pydissect.errors import InputError
from pydissect.iou import count


def small() -> Counts:
    """Two units, three concepts: two objects and a color."""
    return Counts(
        intersection=torch.tensor([[4, 0, 6], [0, 0, 0]]),
        unit_area=torch.tensor([[10, 20], [0, 5]]),
        unit_area_all=torch.tensor([30, 5]),
        concept_area=torch.tensor([8, 0, 12]),
        categories=Categories.of(["object", "object", "color"]),
    )


def test_iou_by_hand():
    counts = small()
    assert counts.iou().tolist() == [[4 / (10 + 8 - 4), 0, 6 / (20 + 12 - 6)], [0, 0, 0]]
    assert counts.iou("category").tolist() == counts.iou().tolist()
    assert counts.iou("all").tolist() == [[4 / (30 + 8 - 4), 0, 6 / (30 + 12 - 6)], [0, 0, 0]]
    assert counts.iou().dtype == torch.float64


@pytest.mark.parametrize("union", ["image", "", None, True])
def test_union_is_refused(union: object):
    with pytest.raises(InputError, match="union: expected 'category' or 'all', found ") as error:
        small().iou(union)  # type: ignore[arg-type]
    assert repr(union) in str(error.value)


@given(cases(min_images=1))
def test_iou_of_bool_masks(case: Case):
    """Each entry from its own four numbers."""
    counts = case.expected
    iou, over_all = counts.iou(), counts.iou("all")
    assert iou.shape == over_all.shape == counts.intersection.shape
    assert ((iou >= 0) & (iou <= 1)).all()
    assert (over_all <= iou).all()
    for c in range(min(iou.shape[-1], 3)):
        k = int(counts.categories.of_concept[c])
        for level, unit in [(0, u) for u in range(min(iou.shape[1], 3))]:
            both, area = int(counts.intersection[level, unit, c]), int(counts.unit_area[level, unit, k])
            union = area + int(counts.concept_area[c]) - both
            assert iou[level, unit, c].item() == (both / union if union else 0)


def test_best_by_hand():
    counts = small()
    best = counts.best()
    assert best.concept.tolist() == [0, -1]
    assert best.iou.tolist() == [4 / 14, 0]
    assert counts.best("color").concept.tolist() == [2, -1]
    assert counts.best("color").iou.tolist() == [6 / 26, 0]
    assert counts.best("object").concept.tolist() == [0, -1]
    assert counts.best(union="all").concept.tolist() == [2, -1]


def test_best_of_an_unknown_category():
    with pytest.raises(InputError, match="category: expected one of object, color, found 'scene'"):
        small().best("scene")


@pytest.mark.parametrize(
    ("iou", "place"),
    [
        ([0.2, 0.5, 0.5, 0.1], 1),
        ([0.5, 0.2, 0.5, 0.5], 0),
        ([0.0, 0.0, 0.0, 0.0], -1),
        ([0.0, 0.0, 0.0, 1e-300], 3),
        ([1.0, 1.0, 1.0, 1.0], 0),
    ],
)
def test_ties_go_to_the_lower_concept(iou: list[float], place: int):
    best = best_of(torch.tensor([[iou], [iou[::-1]]], dtype=torch.float64))
    assert best.concept[0].tolist() == [place]
    assert best.iou.tolist() == [[max(iou)], [max(iou)]]
    assert best.concept.shape == best.iou.shape == (2, 1)


def test_best_of_no_concepts():
    best = best_of(torch.zeros((2, 3, 0), dtype=torch.float64))
    assert best.concept.tolist() == [[-1] * 3] * 2
    assert best.iou.tolist() == [[0.0] * 3] * 2
    assert best_of(torch.zeros((0, 4), dtype=torch.float64)).concept.shape == (0,)


# --- adding ------------------------------------------------------------------------------------------------


def test_adds():
    total = small() + small()
    assert total.intersection.tolist() == [[8, 0, 12], [0, 0, 0]]
    assert total.unit_area.tolist() == [[20, 40], [0, 10]]
    assert total.unit_area_all.tolist() == [60, 10]
    assert total.concept_area.tolist() == [16, 0, 24]
    assert total != small()
    assert total == small() + small()


def changed(**changes: object) -> Counts:
    return Counts(**{**vars(small()), **changes})


@pytest.mark.parametrize(
    "other",
    [
        changed(categories=Categories.of(["object", "color", "color"])),
        changed(categories=Categories.of(["object", "object", "scene"])),
        changed(intersection=torch.zeros((1, 2, 3), dtype=torch.int64)),
        changed(intersection=torch.zeros((3, 3), dtype=torch.int64)),
    ],
    ids=["of-concept", "names", "levels", "units"],
)
def test_adding_others_is_refused(other: Counts):
    with pytest.raises(InputError, match=r"counts: expected \[2, 3\] intersections and categories"):
        small() + other
    assert small() != other


def test_is_neither_added_to_nor_equal_to_other_things():
    with pytest.raises(TypeError):
        small() + 1  # type: ignore[operator]
    assert small() != 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(small())


@pytest.mark.parametrize("name", ["intersection", "unit_area", "unit_area_all", "concept_area"])
def test_one_other_pixel_is_another_count(name: str):
    assert changed(**{name: getattr(small(), name) + 1}) != small()


# --- files -------------------------------------------------------------------------------------------------


@given(cases())
def test_save_and_load(tmp_path_factory: pytest.TempPathFactory, case: Case):
    path = tmp_path_factory.mktemp("counts") / "counts.safetensors"
    case.expected.save(path)
    assert Counts.load(path) == case.expected
    assert [entry.name for entry in path.parent.iterdir()] == ["counts.safetensors"]


def test_save_takes_more(tmp_path: Path):
    path = tmp_path / "counts"
    thresholds = torch.arange(6).view(2, 3).t()
    small().save(path, {"layer": "conv5"}, thresholds=thresholds)
    assert Counts.load(path) == small()
    assert torch.equal(load_file(path)["thresholds"], thresholds)
    assert metadata_of(path)["layer"] == "conv5"
    assert metadata_of(path)["version"] == str(VERSION)


def test_save_of_views(tmp_path: Path):
    """Of one level, as ``counts.intersection[0]`` would give, and transposed."""
    counts = changed(intersection=torch.arange(6).view(3, 2).t(), unit_area=torch.arange(8).view(2, 2, 2)[1])
    counts.save(tmp_path / "counts")
    assert Counts.load(tmp_path / "counts") == counts


def test_loaded_counts_outlive_the_file(tmp_path: Path):
    path = tmp_path / "counts"
    small().save(path)
    loaded = Counts.load(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert loaded == small()


def metadata_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])["__metadata__"]


def test_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="none: no such file"):
        Counts.load(tmp_path / "none")
    with pytest.raises(InputError, match="cannot be read as counts"):
        Counts.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file(tmp_path: Path, kept: int):
    path = tmp_path / "counts"
    small().save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="counts: cannot be read as counts: "):
        Counts.load(path)


@pytest.mark.parametrize("version", [str(VERSION + 1), "0", "x"])
def test_another_version(tmp_path: Path, version: str):
    path = tmp_path / "counts"
    small().save(path, {"version": version})
    with pytest.raises(InputError, match=f"counts: format version '{version}' is not known to this program"):
        Counts.load(path)


def test_another_format(tmp_path: Path):
    path = tmp_path / "counts"
    make_case().packed.save(path)
    with pytest.raises(InputError, match=r"expected a file of format 'pydissect\.counts', found 'pydissect\.masks'"):
        Counts.load(path)


DAMAGES: dict[str, Callable[[dict[str, Tensor], dict[str, str]], object]] = {
    "no-tensor": lambda tensors, _: tensors.pop("unit_area"),
    "no-categories": lambda _, metadata: metadata.pop("categories"),
    "categories-are-no-json": lambda _, metadata: metadata.update(categories="[a"),
    "categories-are-no-list": lambda _, metadata: metadata.update(categories="3"),
    "unknown-category": lambda tensors, _: tensors["concept_category"].add_(2),
    "another-dtype": lambda tensors, _: tensors.update(intersection=tensors["intersection"].float()),
    "another-shape": lambda tensors, _: tensors.update(unit_area=tensors["unit_area"][:, :1].clone()),
    "too-few-concepts": lambda tensors, _: tensors.update(concept_area=tensors["concept_area"][1:].clone()),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file(tmp_path: Path, name: str):
    path = tmp_path / "counts"
    small().save(path)
    tensors, metadata = {key: tensor.clone() for key, tensor in load_file(path).items()}, metadata_of(path)
    DAMAGES[name](tensors, metadata)
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match="counts: cannot be read as counts: ") as error:
        Counts.load(path)
    assert "\n" not in str(error.value)


def test_levels_keep_their_axis(tmp_path: Path):
    case = make_case(levels=("value", "0.0"))
    counts = count(case.acts, case.packed, case.threshold)
    assert counts.iou().shape == (2, 3, 5)
    assert counts.best().concept.shape == (2, 3)
    counts.save(tmp_path / "counts")
    assert Counts.load(tmp_path / "counts") == counts
