"""What a dataset holds, in numbers that need no picture to be opened."""

from collections import Counter
from dataclasses import dataclass

from .dataset import Broden


@dataclass(frozen=True)
class CategorySummary:
    """One category of a dataset.

    Attributes:
        name: of the category.
        concepts: labels whose primary category it is.
        images: rows with a label PNG in its column, or with a whole-image label whose primary category it is.
    """

    name: str
    concepts: int
    images: int


@dataclass(frozen=True)
class Summary:
    """The rows of a dataset, counted.

    Attributes:
        splits: rows of each split, in the order of index.csv.
        image_sizes: rows of each (ih, iw), in pixels.
        mask_sizes: rows of each (sh, sw), in pixels.
        categories: one entry each, in the order of category.csv.
    """

    splits: dict[str, int]
    image_sizes: dict[tuple[int, int], int]
    mask_sizes: dict[tuple[int, int], int]
    categories: tuple[CategorySummary, ...]


def summarize(data: Broden) -> Summary:
    """Count the rows of `data`, those of its split only."""
    primary = {concept.number: concept.category for concept in data.concepts}
    concepts = Counter(primary.values())
    images: Counter[str] = Counter()
    for row in data.rows:
        images.update({*row.columns, *(primary[number] for number in row.whole)})
    return Summary(
        splits=dict(Counter(row.split for row in data.rows)),
        image_sizes=dict(Counter((row.ih, row.iw) for row in data.rows)),
        mask_sizes=dict(Counter((row.sh, row.sw) for row in data.rows)),
        categories=tuple(CategorySummary(name, concepts[name], images[name]) for name in data.categories),
    )
