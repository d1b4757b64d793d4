"""Batches that are iterated once: of a length, and of concepts, that may show at the end only."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from .categories import Categories, as_categories
from .errors import InputError
from .masks import PackedMasks
from .sources import ConceptName, check_iterable, concept_names, no_images, packed_batch, raw_batches, shown_concepts


class StreamSource:
    """Any iterable of ``(images, masks)`` batches, iterated once; see :class:`pydissect.sources.Source`.

    How many images there are is known beforehand of a list or a tuple; otherwise the limit is no less.

    Args:
        data: the iterable, or an iterator; masks as :func:`pydissect.fast_iou` takes them.
        concepts: the concepts' names; without them, ``concept 0`` and so on.
        categories: the category's name of each concept; without them there is a single one.
        limit: the first so many images only.

    Raises:
        InputError: it cannot be iterated, has no image, or a batch is not what it must be.
    """

    concepts: tuple[ConceptName, ...]
    categories: Categories

    def __init__(
        self,
        data: Iterable[Any],
        *,
        concepts: Sequence[str] | None,
        categories: Sequence[str] | None,
        limit: int | None,
    ) -> None:
        check_iterable(data)
        self.num_images: int | None = None
        self.most_images = limit
        if isinstance(data, list | tuple):
            self.num_images = self.most_images = sum(len(images) for images, _ in raw_batches(data, limit))
        self._batches = raw_batches(data, limit)
        self._first = next(self._batches, None)
        if self._first is None:
            raise no_images()
        self._names = concepts
        self._num_concepts: int | None = None
        self._categories: Categories | None = None
        if concepts is not None or categories is not None:
            self._num_concepts = len(concepts) if concepts is not None else len(categories or ())
        if categories is not None:
            assert self._num_concepts is not None
            self._categories = as_categories(categories, self._num_concepts)

    def example(self) -> Tensor:
        """The first image, ``[1, 3, H, W]``, as the model takes it."""
        assert self._first is not None
        return self._first[0][:1]

    def batches(self) -> Iterator[tuple[Tensor, PackedMasks]]:
        """Images ``[B, 3, H, W]`` as the model takes them, and their masks; once.

        Raises:
            InputError: a batch is not what it must be.
        """
        assert self._first is not None
        first, self._first = self._first, None
        images_seen = most_concepts = 0
        from_masks = all_concepts = None
        for images, masks in chain([first], self._batches):
            shown, all_of_them = shown_concepts(masks, self._names)
            most_concepts = max(most_concepts, shown)
            if all_of_them:
                if all_concepts not in (None, shown):
                    raise InputError(f"masks: expected {all_concepts} concepts, found {shown}")
                all_concepts = shown
            packed = packed_batch(images, masks, self._categories, self._num_concepts)
            if isinstance(masks, PackedMasks):
                if from_masks is not None and from_masks != masks.categories:
                    raise InputError(f"masks: expected categories {from_masks.names}, found {masks.categories.names}")
                from_masks = masks.categories
            images_seen += len(images)
            yield images, packed
        self.num_images = images_seen
        known = self._categories or from_masks
        self.categories = known or Categories.single(self._num_concepts or most_concepts)
        self.concepts = concept_names(self._names, self.categories)

    def settled(self, masks: PackedMasks) -> PackedMasks:
        """Masks that came in the iteration, with the concepts that are known after it.

        Raises:
            InputError: they are of other concepts.
        """
        if masks.num_concepts > len(self.concepts):
            raise InputError(f"masks: expected {len(self.concepts)} concepts, found {masks.num_concepts}")
        return masks.of_categories(self.categories)

    def resident_masks(self, device: torch.device) -> PackedMasks | None:
        """None: masks come batch by batch."""
        return None

    def image_name(self, i: int) -> str:
        """What to call image ``i`` in an error."""
        return f"number {i}"
