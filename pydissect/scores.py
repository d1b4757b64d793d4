"""From counts to labels: the concept that each unit detects, and how many detectors there are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .categories import Categories
from .counts import best_of
from .defaults import IOU_THRESHOLD


@dataclass(frozen=True, eq=False)
class UnitLabels:
    """The best concept of each unit.

    Attributes:
        concept: ``[U]`` int64, index of the unit's label, -1 where its best IoU is 0.
        iou: ``[U]`` float64, of that concept.
        category_concept: ``[U, K]`` int64, the best concept of each category, -1 likewise.
        category_iou: ``[U, K]`` float64.
        categories: of the concepts.
    """

    concept: Tensor
    iou: Tensor
    category_concept: Tensor
    category_iou: Tensor
    categories: Categories


def label_units(iou: Tensor, categories: Categories) -> UnitLabels:
    """Labels every unit with the concept of the largest IoU; ties go to the lower concept.

    Args:
        iou: ``[U, C]`` float64.
        categories: of the concepts.
    """
    units = len(iou)
    category_concept = torch.full((units, len(categories)), -1)
    category_iou = torch.zeros((units, len(categories)), dtype=torch.float64)
    for k in range(len(categories)):
        concepts = (categories.of_concept == k).nonzero().squeeze(1)
        best = best_of(iou[:, concepts])
        found = best.concept >= 0
        category_concept[found, k] = concepts[best.concept[found]]
        category_iou[:, k] = best.iou
    return label_by_category(category_concept, category_iou, categories)


def label_by_category(category_concept: Tensor, category_iou: Tensor, categories: Categories) -> UnitLabels:
    """Labels every unit with the best of its categories' best concepts; ties go to the lower concept.

    Args:
        category_concept: ``[U, K]`` int64, the best concept of each category, -1 for none.
        category_iou: ``[U, K]`` float64, its IoU.
        categories: of the concepts.
    """
    if category_iou.shape[1] == 0:
        none = torch.full((len(category_iou),), -1)
        return UnitLabels(none, category_iou.new_zeros(len(category_iou)), category_concept, category_iou, categories)
    iou = category_iou.amax(1)
    candidates = (category_iou == iou[:, None]) & (category_concept >= 0)
    beyond = torch.iinfo(torch.int64).max
    concept = torch.where(candidates, category_concept, beyond).amin(1)
    return UnitLabels(torch.where(concept == beyond, -1, concept), iou, category_concept, category_iou, categories)


@dataclass(frozen=True)
class CategoryCount:
    """Detectors and unique detectors of one category.

    Attributes:
        detectors: units whose best IoU within the category exceeds the threshold.
        unique_detectors: the distinct concepts among these bests ("per category" in docs/definitions.md).
        top_detectors: units that are detectors and whose label is of the category.
        unique_top_labels: the distinct labels among those ("top label").
    """

    detectors: int
    unique_detectors: int
    top_detectors: int
    unique_top_labels: int


@dataclass(frozen=True)
class LayerSummary:
    """How interpretable a layer is.

    Attributes:
        units: of the layer.
        detectors: units whose best IoU over all concepts exceeds the threshold, strictly.
        unique_detectors: over the categories, the distinct concepts that are some unit's best of that
            category above the threshold: what the paper's tables add up.
        unique_top_labels: the distinct labels of detectors, one label a unit: what its text counts.
        categories: the same by category's name.
    """

    units: int
    detectors: int
    unique_detectors: int
    unique_top_labels: int
    categories: dict[str, CategoryCount]


def summarize(labels: UnitLabels, iou_threshold: float = IOU_THRESHOLD) -> LayerSummary:
    """Counts detectors and unique detectors, in both definitions (Bau et al. 2017, section 2.2)."""
    detector = labels.iou > iou_threshold
    of_concept = labels.categories.of_concept
    # One entry more, at the end, so that the concept -1 has the category -1.
    label_category = torch.cat([of_concept, of_concept.new_full((1,), -1)])[labels.concept]
    counts = {}
    for k, name in enumerate(labels.categories.names):
        above = labels.category_iou[:, k] > iou_threshold
        top = detector & (label_category == k)
        counts[name] = CategoryCount(
            detectors=int(above.sum()),
            unique_detectors=_distinct(labels.category_concept[above, k]),
            top_detectors=int(top.sum()),
            unique_top_labels=_distinct(labels.concept[top]),
        )
    return LayerSummary(
        units=len(labels.iou),
        detectors=int(detector.sum()),
        unique_detectors=sum(count.unique_detectors for count in counts.values()),
        unique_top_labels=_distinct(labels.concept[detector]),
        categories=counts,
    )


def _distinct(concepts: Tensor) -> int:
    return len(set(concepts.tolist()))
