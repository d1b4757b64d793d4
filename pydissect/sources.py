"""Where the images and masks of a dissection come from, in batches that can be iterated again."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .arrays import as_tensor
from .broden import Broden, Images
from .categories import Categories, as_categories
from .errors import InputError
from .mask_cache import cached_masks
from .masks import PackedMasks, as_masks
from .normalize import Normalization
from .parallel import ordered_map
from .progress import Progress


@dataclass(frozen=True)
class ConceptName:
    """What a report says of a concept.

    Attributes:
        number: of the label in the dataset.
        name: of the label.
        category: its primary category.
    """

    number: int
    name: str
    category: str


class Source(Protocol):
    """A dataset as a dissection needs it."""

    num_images: int
    concepts: tuple[ConceptName, ...]
    categories: Categories

    def batches(self) -> Iterator[tuple[Tensor, PackedMasks]]:
        """Images ``[B, 3, H, W]`` as the model takes them, and their masks; the same at every call."""

    def image_name(self, i: int) -> str:
        """What to call image ``i`` in an error."""


class BrodenSource:
    """A Broden folder: pictures are decoded in threads while the model runs.

    Args:
        data: the dataset.
        normalization: of the pictures.
        input_size: height and width that the model takes; None for those of the dataset.
        limit: the first so many images only.
        batch_size: images a batch.
        workers: threads that decode.
        progress: told of the packing of masks.
    """

    def __init__(
        self,
        data: Broden,
        *,
        normalization: Normalization,
        input_size: tuple[int, int] | None,
        limit: int | None,
        batch_size: int,
        workers: int,
        progress: Progress,
    ) -> None:
        self.num_images = len(data) if limit is None else min(limit, len(data))
        self.concepts = tuple(ConceptName(c.number, c.name, c.category) for c in data.concepts)
        self._data = data
        self._images = Images(data, input_size or data.image_size)
        self._normalization = normalization
        self._batch_size = batch_size
        self._workers = workers
        self._masks = cached_masks(data, limit=limit, workers=max(workers, 1), progress=progress)
        self.categories = self._masks.categories

    def batches(self) -> Iterator[tuple[Tensor, PackedMasks]]:
        """Images ``[B, 3, H, W]`` as the model takes them, and their masks; the same at every call."""
        # Two batches: one to be taken, one to be ready after it.
        ahead = 2 * self._batch_size
        with closing(ordered_map(self._images.__getitem__, range(self.num_images), self._workers, ahead)) as pictures:
            for begin in range(0, self.num_images, self._batch_size):
                batch = np.stack(list(islice(pictures, self._batch_size)))
                images = self._normalization(torch.from_numpy(batch).permute(0, 3, 1, 2))
                yield images, self._masks[begin : begin + len(batch)]

    def image_name(self, i: int) -> str:
        """What to call image ``i`` in an error."""
        return self._data.rows[i].image


class IterableSource:
    """Any iterable of ``(images, masks)`` batches that can be iterated again.

    It is iterated once beforehand, to count images and concepts.

    Args:
        data: the iterable; masks as :func:`pydissect.fast_iou` takes them.
        concepts: the concepts' names; without them, ``concept 0`` and so on.
        categories: the category's name of each concept; without them there is a single one.
        limit: the first so many images only.

    Raises:
        InputError: it cannot be iterated again, or a batch is not what it must be.
    """

    def __init__(
        self,
        data: Iterable[Any],
        *,
        concepts: Sequence[str] | None,
        categories: Sequence[str] | None,
        limit: int | None,
    ) -> None:
        # Not by calling iter(data): that of a DataLoader starts its workers.
        if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
            raise InputError(
                f"data: expected a Broden or an iterable of batches (images, masks), found {type(data).__name__}"
            )
        if isinstance(data, Iterator):
            raise InputError(
                f"data: expected an iterable that can be iterated several times, found {type(data).__name__}, an "
                "iterator; pass a list, a DataLoader or an object whose __iter__ starts anew"
            )
        self._data = data
        self._limit = limit
        self.num_images = 0
        num_concepts, from_masks = 0, None
        for images, masks in self._raw():
            self.num_images += len(images)
            shown, all_of_them = _num_concepts(masks)
            if concepts is not None and (shown > len(concepts) or (all_of_them and shown != len(concepts))):
                raise InputError(
                    f"concepts: expected one name for each of the {shown} concepts of the masks, found {len(concepts)}"
                )
            num_concepts = max(num_concepts, shown)
            if isinstance(masks, PackedMasks):
                from_masks = masks.categories
        if concepts is not None:
            num_concepts = len(concepts)
        if self.num_images == 0:
            raise InputError("data: expected at least one image, found none")
        names = [f"concept {c}" for c in range(num_concepts)] if concepts is None else list(concepts)
        self.categories = as_categories(categories if categories is not None else from_masks, num_concepts)
        of_concept = self.categories.of_concept.tolist()
        self.concepts = tuple(
            ConceptName(number, name, self.categories.names[k])
            for number, (name, k) in enumerate(zip(names, of_concept, strict=True), start=1)
        )

    def batches(self) -> Iterator[tuple[Tensor, PackedMasks]]:
        """Images ``[B, 3, H, W]`` as the model takes them, and their masks; the same at every call."""
        found = 0
        for images, masks in self._raw():
            found += len(images)
            if found > self.num_images:
                break
            packed = as_masks(masks, self.categories, len(self.concepts))
            if len(packed) != len(images):
                raise InputError(f"data: expected masks of the batch's {len(images)} images, found {len(packed)}")
            yield images, packed
        if found != self.num_images:
            more = " or more" if found > self.num_images else ""
            raise InputError(
                f"data: expected {self.num_images} images as in the first iteration, found {found}{more}; "
                "every iteration must give the same batches"
            )

    def image_name(self, i: int) -> str:
        """What to call image ``i`` in an error."""
        return f"number {i}"

    def _raw(self) -> Iterator[tuple[Tensor, Any]]:
        left = self._limit
        for batch in self._data:
            if left == 0:
                return
            try:
                images, masks = batch
            except (TypeError, ValueError):
                raise InputError(f"data: expected batches (images, masks), found {type(batch).__name__}") from None
            images = as_tensor(images, "data: images")
            if images.ndim != 4:
                raise InputError(f"data: expected images [B, 3, H, W], found shape {list(images.shape)}")
            if len(images) == 0:
                continue
            if left is not None:
                images, masks = images[:left], masks[:left]
                left -= len(images)
            yield images, masks


def _num_concepts(masks: Any) -> tuple[int, bool]:
    """How many concepts a batch of masks shows, and whether these are all; packing checks the masks later."""
    if isinstance(masks, PackedMasks):
        return masks.num_concepts, True
    tensor = as_tensor(masks, "masks")
    if tensor.dtype == torch.bool and tensor.ndim == 4:
        return tensor.shape[1], True
    # Of label maps, the largest label: other batches may have larger ones.
    return int(tensor.cpu().numpy().max()) if tensor.numel() and not tensor.is_floating_point() else 0, False
