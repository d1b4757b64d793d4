"""Where the images and masks of a dissection come from, in batches that can be iterated again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .arrays import as_tensor
from .broden import Broden
from .categories import Categories, as_categories
from .errors import InputError
from .mask_cache import cached_masks
from .mask_feed import resident_masks
from .masks import PackedMasks, as_masks
from .normalize import Normalization
from .picture_batches import PictureBatches
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

    @property
    def num_images(self) -> int | None:
        """How many there are; None if that shows at the end of the first iteration only."""

    @property
    def most_images(self) -> int | None:
        """There are no more than these; None if that is not known."""

    @property
    def concepts(self) -> tuple[ConceptName, ...]:
        """Of the masks; known after the first iteration at the latest."""

    @property
    def categories(self) -> Categories:
        """Of the concepts; likewise."""

    def example(self) -> Tensor:
        """The first image, ``[1, 3, H, W]``, as the model takes it."""

    def batches(self) -> Iterator[tuple[Tensor, PackedMasks]]:
        """Images ``[B, 3, H, W]`` as the model takes them, and their masks; the same at every call."""

    def settled(self, masks: PackedMasks) -> PackedMasks:
        """Masks that came in the first iteration, with the concepts that are known after it."""

    def resident_masks(self, device: torch.device) -> PackedMasks | None:
        """The masks of all images where they lie in a device's memory, or can lie there and are needed again."""

    def image_name(self, i: int) -> str:
        """What to call image ``i`` in an error."""


class BrodenSource:
    """A Broden folder; its pictures come as of :class:`PictureBatches`.

    Args:
        data: the dataset.
        normalization: of the pictures.
        input_size: height and width that the model takes; None for those of the dataset.
        limit: the first so many images only.
        batch_size: images a batch.
        workers: threads that decode.
        image_cache: keep the decoded pictures in a file for the next time, and take them from there.
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
        image_cache: bool,
        progress: Progress,
    ) -> None:
        self.num_images: int = len(data) if limit is None else min(limit, len(data))
        self.most_images = self.num_images
        self.concepts = tuple(ConceptName(c.number, c.name, c.category) for c in data.concepts)
        self._data = data
        self._fingerprint = data.fingerprint()
        self._masks = cached_masks(
            data, limit=limit, workers=max(workers, 1), progress=progress, fingerprint=self._fingerprint
        )
        self.categories = self._masks.categories
        self._pictures = PictureBatches(
            data,
            range(self.num_images),
            normalization=normalization,
            input_size=input_size,
            batch_size=batch_size,
            workers=workers,
            image_cache=image_cache,
            fingerprint=self._fingerprint,
        )

    def example(self) -> Tensor:
        """The first image, ``[1, 3, H, W]``, as the model takes it."""
        return self._pictures.example()

    def batches(self) -> Iterator[tuple[Tensor, PackedMasks]]:
        """Images ``[B, 3, H, W]`` as the model takes them, and their masks; the same at every call."""
        for rows, pictures in self._pictures:
            yield pictures, self.masks(rows)

    def masks(self, rows: range) -> PackedMasks:
        """The masks of consecutive images."""
        return self._masks[rows.start : rows.stop]

    def settled(self, masks: PackedMasks) -> PackedMasks:
        """Masks that came in the first iteration, with the concepts that are known after it."""
        return masks

    def resident_masks(self, device: torch.device) -> PackedMasks | None:
        """Its masks in the memory of a GPU that has room for them, where they stay for its next dissection."""
        return resident_masks(self._data, self._fingerprint, self._masks, device)

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
        check_iterable(data)
        if isinstance(data, Iterator):
            raise InputError(
                f"data: expected an iterable that can be iterated several times, found {type(data).__name__}, an "
                "iterator; pass a list, a DataLoader or an object whose __iter__ starts anew"
            )
        self._data = data
        self._limit = limit
        self.num_images: int = 0
        num_concepts, from_masks = 0, None
        for images, masks in raw_batches(data, limit):
            self.num_images += len(images)
            num_concepts = max(num_concepts, shown_concepts(masks, concepts)[0])
            if isinstance(masks, PackedMasks):
                from_masks = masks.categories
        if self.num_images == 0:
            raise no_images()
        self.most_images = self.num_images
        self.categories = as_categories(categories if categories is not None else from_masks, num_concepts)
        self.concepts = concept_names(concepts, self.categories)

    def example(self) -> Tensor:
        """The first image, ``[1, 3, H, W]``, as the model takes it."""
        first = next(raw_batches(self._data, self._limit), None)
        if first is None:
            raise self._changed("0")
        return first[0][:1]

    def batches(self) -> Iterator[tuple[Tensor, PackedMasks]]:
        """Images ``[B, 3, H, W]`` as the model takes them, and their masks; the same at every call."""
        found = 0
        for images, masks in raw_batches(self._data, self._limit):
            found += len(images)
            if found > self.num_images:
                break
            yield images, packed_batch(images, masks, self.categories, len(self.concepts))
        if found != self.num_images:
            more = " or more" if found > self.num_images else ""
            raise self._changed(f"{found}{more}")

    def _changed(self, found: str) -> InputError:
        return InputError(
            f"data: expected {self.num_images} images as in the first iteration, found {found}; "
            "every iteration must give the same batches"
        )

    def resident_masks(self, device: torch.device) -> PackedMasks | None:
        """None: masks come batch by batch."""
        return None

    def image_name(self, i: int) -> str:
        """What to call image ``i`` in an error."""
        return f"number {i}"

    def settled(self, masks: PackedMasks) -> PackedMasks:
        """Masks that came in the first iteration, with the concepts that are known after it."""
        return masks


def no_images() -> InputError:
    """The error of data without an image."""
    return InputError("data: expected at least one image, found none")


def check_iterable(data: object) -> None:
    """Raises an InputError if the data cannot be iterated."""
    # Not by calling iter(data): that of a DataLoader starts its workers.
    if not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise InputError(
            f"data: expected a Broden or an iterable of batches (images, masks), found {type(data).__name__}"
        )


def raw_batches(data: Iterable[Any], limit: int | None) -> Iterator[tuple[Tensor, Any]]:
    """The batches of an iterable with at least one image, as far as the limit: images, and masks as they come.

    Raises:
        InputError: a batch is no pair, or its images are not ``[B, 3, H, W]``.
    """
    left = limit
    for batch in data:
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


def packed_batch(images: Tensor, masks: Any, categories: Categories | None, num_concepts: int | None) -> PackedMasks:
    """The packed masks of a batch.

    Raises:
        InputError: they are not those of its images.
    """
    packed = as_masks(masks, categories, num_concepts)
    if len(packed) != len(images):
        raise InputError(f"data: expected masks of the batch's {len(images)} images, found {len(packed)}")
    return packed


def concept_names(concepts: Sequence[str] | None, categories: Categories) -> tuple[ConceptName, ...]:
    """The concepts of an iterable, numbered from 1; without names, ``concept 0`` and so on."""
    of_concept = categories.of_concept.tolist()
    names = [f"concept {c}" for c in range(len(of_concept))] if concepts is None else list(concepts)
    return tuple(
        ConceptName(number, name, categories.names[k])
        for number, (name, k) in enumerate(zip(names, of_concept, strict=True), start=1)
    )


def shown_concepts(masks: Any, concepts: Sequence[str] | None) -> tuple[int, bool]:
    """How many concepts a batch of masks shows, and whether these are all; packing checks the masks later.

    Raises:
        InputError: not as many as there are names.
    """
    shown, all_of_them = _num_concepts(masks)
    if concepts is not None and (shown > len(concepts) or (all_of_them and shown != len(concepts))):
        raise InputError(
            f"concepts: expected one name for each of the {shown} concepts of the masks, found {len(concepts)}"
        )
    return (shown if concepts is None else len(concepts)), all_of_them


def _num_concepts(masks: Any) -> tuple[int, bool]:
    """How many concepts a batch of masks shows, and whether these are all; packing checks the masks later."""
    if isinstance(masks, PackedMasks):
        return masks.num_concepts, True
    tensor = as_tensor(masks, "masks")
    if tensor.dtype == torch.bool and tensor.ndim == 4:
        return tensor.shape[1], True
    # Of label maps, the largest label: other batches may have larger ones.
    return int(tensor.cpu().numpy().max()) if tensor.numel() and not tensor.is_floating_point() else 0, False
