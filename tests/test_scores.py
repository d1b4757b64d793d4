"""Labels and detectors, from small tables by hand and from the paper's own."""

import csv
import json
from pathlib import Path

import pytest
import torch

from pydissect import reference
from pydissect.categories import Categories
from pydissect.scores import CategoryCount, label_by_category, label_units, summarize

TWO = Categories(("object", "color"), torch.tensor([0, 1, 0, 1]))


def iou(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_label_is_the_best_concept_over_all_categories():
    labels = label_units(iou([0.1, 0.3, 0.2, 0.0], [0.5, 0.3, 0.2, 0.4]), TWO)
    assert labels.concept.tolist() == [1, 0]
    assert labels.iou.tolist() == [0.3, 0.5]
    assert labels.category_concept.tolist() == [[2, 1], [0, 3]]
    assert labels.category_iou.tolist() == [[0.2, 0.3], [0.5, 0.4]]


@pytest.mark.parametrize(
    ("row", "label", "of_category"),
    [
        ([0.2, 0.1, 0.2, 0.0], 0, [0, 1]),  # within a category
        ([0.1, 0.2, 0.0, 0.2], 1, [0, 1]),  # within the second
        ([0.1, 0.2, 0.2, 0.1], 1, [2, 1]),  # between categories, where the later one has the lower concept
        ([0.2, 0.2, 0.2, 0.2], 0, [0, 1]),
        ([0.0, 0.0, 0.0, 0.2], 3, [-1, 3]),
    ],
)
def test_ties_go_to_the_lower_concept(row: list[float], label: int, of_category: list[int]):
    labels = label_units(iou(row), TWO)
    assert labels.concept.tolist() == [label]
    assert labels.category_concept.tolist() == [of_category]


def test_iou_zero_is_no_label():
    labels = label_units(iou([0.0, 0.0, 0.0, 0.0]), TWO)
    assert labels.concept.tolist() == [-1]
    assert labels.category_concept.tolist() == [[-1, -1]]
    assert labels.iou.tolist() == [0.0]
    summary = summarize(labels, 0.0)
    assert (summary.detectors, summary.unique_detectors, summary.unique_top_labels) == (0, 0, 0)


def test_category_without_a_concept():
    labels = label_units(iou([0.1, 0.2]), Categories(("part", "object"), torch.tensor([1, 1])))
    assert labels.category_concept.tolist() == [[-1, 1]]
    assert labels.concept.tolist() == [1]
    assert summarize(labels).categories["part"] == CategoryCount(0, 0, 0, 0)


@pytest.mark.parametrize("names", [(), ("concept",)])
def test_no_concepts(names: tuple[str, ...]):
    categories = Categories(names, torch.zeros(0, dtype=torch.int64))
    labels = label_units(torch.zeros(3, 0, dtype=torch.float64), categories)
    assert labels.concept.tolist() == [-1, -1, -1]
    assert labels.iou.tolist() == [0.0, 0.0, 0.0]
    assert (summarize(labels).units, summarize(labels).detectors) == (3, 0)


def test_no_units():
    summary = summarize(label_units(torch.zeros(0, 4, dtype=torch.float64), TWO))
    assert (summary.units, summary.detectors, summary.unique_detectors) == (0, 0, 0)


def test_summary_in_both_definitions():
    table = iou(
        [0.30, 0.10, 0.00, 0.00],  # object 0; color 1 too
        [0.10, 0.05, 0.30, 0.00],  # object 2; color 1 too
        [0.00, 0.00, 0.20, 0.10],  # object 2; color 3 too
        [0.03, 0.50, 0.00, 0.00],  # color 1; object too weak
        [0.04, 0.04, 0.00, 0.00],  # strictly greater: no detector
    )
    summary = summarize(label_units(table, TWO), 0.04)
    assert summary.units == 5
    assert summary.detectors == 4
    assert summary.unique_top_labels == 3
    assert summary.unique_detectors == 4
    assert summary.categories == {
        "object": CategoryCount(detectors=3, unique_detectors=2, top_detectors=3, unique_top_labels=2),
        "color": CategoryCount(detectors=4, unique_detectors=2, top_detectors=1, unique_top_labels=1),
    }


def test_the_threshold_is_the_callers():
    labels = label_units(iou([0.1, 0.0, 0.0, 0.0], [0.2, 0.0, 0.0, 0.0]), TWO)
    assert [summarize(labels, threshold).detectors for threshold in (0.0, 0.1, 0.2)] == [2, 1, 0]


# --- the paper's own tables -----------------------------------------------------------------------------

RELEASED = {
    "caffe_reference_imagenet": ("caffe_reference_imagenet", 256, 61, 50),
    "caffe_reference_places365": ("caffe_reference_places365", 256, 91, None),
    "ResNet-152-model_places365": ("resnet-152-torch-places365", 2048, 347, None),
}


@pytest.mark.parametrize("table", RELEASED)
def test_released_table(shared_data_folder: Path, table: str):
    """From the paper's integers: its IoU to the last bit, its labels, its detectors."""
    network, units, unique, top_labels = RELEASED[table]
    folder = shared_data_folder / "released"
    with (folder / f"{table}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    networks = json.loads((folder / "counts_by_network.json").read_text())
    (expected,) = (entry for entry in networks if entry["network"] == network)
    assert len(rows) == units

    names = tuple(column.removesuffix("-label") for column in rows[0] if column.endswith("-label"))
    assert sorted(names) == ["color", "material", "object", "part", "scene", "texture"]
    # The ResNet's table has lost the name of one texture; an empty name is a name like another here.
    concepts = sorted({(k, row[f"{name}-label"]) for row in rows for k, name in enumerate(names)})
    index = {concept: c for c, concept in enumerate(concepts)}
    categories = Categories(names, torch.tensor([k for k, _ in concepts]))

    def integers(what: str) -> torch.Tensor:
        # Areas of units are written with a decimal point.
        values = [[float(row[f"{name}-{what}"]) for name in names] for row in rows]
        return torch.tensor(values, dtype=torch.float64).long()

    found_iou = reference.iou(integers("intersect"), integers("activation"), integers("truth"))
    their_iou = torch.tensor([[float(row[f"{name}-iou"]) for name in names] for row in rows], dtype=torch.float64)
    assert torch.equal(found_iou, their_iou)

    best = torch.tensor([[index[k, row[f"{name}-label"]] for k, name in enumerate(names)] for row in rows])
    labels = label_by_category(best, found_iou, categories)
    for row, concept, value in zip(rows, labels.concept.tolist(), labels.iou.tolist(), strict=True):
        k, name = concepts[concept]
        assert (name, names[k], value) == (row["label"], row["category"], float(row["score"]))

    summary = summarize(labels)
    assert summary.unique_detectors == expected["unique"]["all"] == unique
    assert summary.detectors == expected["detectors"]["all"]
    assert summary.detectors / summary.units == expected["detector_ratio"]
    for name in names:
        assert summary.categories[name].unique_detectors == expected["unique"][name]
        assert summary.categories[name].detectors == expected["detectors"][name]
    if top_labels is not None:
        assert summary.unique_top_labels == top_labels


def test_the_best_of_all_is_the_best_of_the_categories(shared_data_folder: Path):
    """label_units agrees with label_by_category where it is given the whole matrix, made of the paper's IoU."""
    with (shared_data_folder / "released" / "caffe_reference_imagenet.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = tuple(column.removesuffix("-label") for column in rows[0] if column.endswith("-label"))
    concepts = sorted({(k, row[f"{name}-label"]) for row in rows for k, name in enumerate(names)})
    index = {concept: c for c, concept in enumerate(concepts)}
    matrix = torch.zeros(len(rows), len(concepts), dtype=torch.float64)
    for u, row in enumerate(rows):
        for k, name in enumerate(names):
            matrix[u, index[k, row[f"{name}-label"]]] = float(row[f"{name}-iou"])
    labels = label_units(matrix, Categories(names, torch.tensor([k for k, _ in concepts])))
    assert [concepts[c][1] for c in labels.concept.tolist()] == [row["label"] for row in rows]
    assert summarize(labels).unique_detectors == 61
    assert summarize(labels).unique_top_labels == 50
