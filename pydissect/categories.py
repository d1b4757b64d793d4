"""Which category each concept belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .errors import InputError

_MOST_KEPT = 2**16  # concepts, of which there are more only where labels are wrong


@dataclass(frozen=True, eq=False)
class Categories:
    """The categories of a dataset and the primary category of each concept.

    Attributes:
        names: of the ``K`` categories, in the dataset's order.
        of_concept: ``[C]`` int64, each concept's place in ``names``.
        everywhere: every category counts as annotated in every image, whatever the image carries.
    """

    names: tuple[str, ...]
    of_concept: Tensor
    everywhere: bool = False

    @property
    def num_concepts(self) -> int:
        """``C``."""
        return len(self.of_concept)

    @classmethod
    def single(cls, num_concepts: int) -> "Categories":
        """One category, annotated in every image: what plain bool masks and label maps have.

        The same object for the same number, so that comparing two costs nothing, unless there are unlikely many.
        """
        return _single(num_concepts) if num_concepts <= _MOST_KEPT else _single.__wrapped__(num_concepts)

    @classmethod
    def of(cls, names: Sequence[str]) -> "Categories":
        """From the category's name of each concept; their order is that of first appearance."""
        order = tuple(dict.fromkeys(names))
        places = {name: place for place, name in enumerate(order)}
        return cls(order, torch.tensor([places[name] for name in names], dtype=torch.int64))

    def index(self, name: str) -> int:
        """The place of a category.

        Raises:
            InputError: there is no such category.
        """
        if name not in self.names:
            raise InputError(f"category: expected one of {', '.join(self.names)}, found {name!r}")
        return self.names.index(name)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Categories)
            and self.names == other.names
            and self.everywhere == other.everywhere
            and torch.equal(self.of_concept.cpu(), other.of_concept.cpu())
        )

    __hash__ = None  # type: ignore[assignment]


@lru_cache(maxsize=64)
def _single(num_concepts: int) -> Categories:
    # Kept for callers who may compute gradients, whoever is the first to ask.
    with torch.inference_mode(False):
        of_concept = torch.zeros(num_concepts, dtype=torch.int64, device="cpu")
    return Categories(("concept",), of_concept, everywhere=True)


def as_categories(categories: "Categories | Sequence[str] | None", num_concepts: int) -> Categories:
    """``Categories`` from what a caller may give: them, a name for each concept, or None for a single one.

    Raises:
        InputError: there is not one for each of the ``num_concepts`` concepts.
    """
    if categories is None:
        return Categories.single(num_concepts)
    result = categories if isinstance(categories, Categories) else Categories.of(categories)
    if result.num_concepts != num_concepts:
        raise InputError(
            f"categories: expected one name for each of the {num_concepts} concepts, found {result.num_concepts}"
        )
    return result
