"""Packed masks: the concept masks of a dataset as bits, and only those that are not empty."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import _cpu
from .arrays import as_tensor
from .categories import Categories, as_categories
from .errors import InputError
from .files import atomic_write
from .mapped_tensor import MappedTensor
from .mask_file import MaskWriter, read_masks
from .packing import ImageMasks, Vocabulary, annotated, pack_bool, pack_labels, row_bytes
from .packing_device import DeviceMasks, pack_bool_on_device, pack_labels_on_device

# A larger one is rather a code for "unlabelled" than the number of a concept.
_LARGEST_LABEL = 2**24

_TENSORS = {
    "bitmap_offsets": torch.int64,
    "whole_offsets": torch.int64,
    "concept_category": torch.int64,
    "bitmap_concepts": torch.int32,
    "bitmap_pixels": torch.int32,
    "whole_concepts": torch.int32,
    "annotated": torch.uint8,
    "bitmaps": torch.uint8,
}


class PackedMasks:
    """The concept masks of ``N`` images: per image, which concepts it carries and a bitmap of each.

    Equivalent to a bool array ``[N, C, H, W]``, which :meth:`unpack` gives. Concepts
    that cover the whole image (scenes, textures) are kept as plain numbers. Make one
    with :meth:`from_bool`, :meth:`from_labels`, :meth:`load` or ``Broden(folder).masks``;
    select images with ``masks[i:j]`` or ``masks[[3, 1, 4]]``, which copies no bitmap.
    All tensors are contiguous.

    Attributes:
        size: ``(H, W)`` of the masks, in pixels.
        categories: of the concepts.
        bitmap_ranges: ``[N, 2]`` int64: image ``n`` has the bitmaps ``[n, 0]`` to ``[n, 1]``.
        bitmap_concepts: ``[B]`` int32, the concept of each bitmap.
        bitmap_pixels: ``[B]`` int32, the pixels set in each bitmap.
        bitmaps: ``[B, H, row_bytes]`` uint8; pixel ``x`` of a row is bit ``x % 8`` of byte ``x // 8``.
        whole_ranges: ``[N, 2]`` int64, likewise into ``whole_concepts``.
        whole_concepts: ``[V]`` int32, concepts that cover their whole image.
        annotated: ``[N, K]`` uint8, whether category ``k`` is annotated in image ``n``.
        bitmap_map: the memory map that ``bitmaps`` lies in, or None.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int],
        categories: Categories,
        bitmap_ranges: Tensor,
        bitmap_concepts: Tensor,
        bitmap_pixels: Tensor,
        bitmaps: Tensor,
        whole_ranges: Tensor,
        whole_concepts: Tensor,
        annotated: Tensor,
        bitmap_map: MappedTensor | None = None,
    ) -> None:
        self.size = size
        self.categories = categories
        # Some selections of images leave strides, which no backend reads.
        self.bitmap_ranges = bitmap_ranges.contiguous()
        self.bitmap_concepts = bitmap_concepts.contiguous()
        self.bitmap_pixels = bitmap_pixels.contiguous()
        self.bitmaps = bitmaps.contiguous()
        self.whole_ranges = whole_ranges.contiguous()
        self.whole_concepts = whole_concepts.contiguous()
        self.annotated = annotated.contiguous()
        self.bitmap_map = bitmap_map

    @classmethod
    def from_bool(cls, masks: Any, categories: Categories | Sequence[str] | None = None) -> "PackedMasks":
        """Packs bool masks.

        Args:
            masks: ``[N, C, H, W]`` bool, torch, NumPy or DLPack, of any strides.
            categories: the category's name of each concept; without them there is
                one category, annotated in every image.

        Raises:
            InputError: another shape or dtype.
        """
        tensor = as_tensor(masks, "masks")
        if tensor.dtype != torch.bool or tensor.ndim != 4 or 0 in tensor.shape[2:]:
            raise InputError(
                f"masks: expected bool [N, C, H, W], found {_describe(tensor)}; a one-hot stack needs .bool()"
            )
        size, known = (tensor.shape[2], tensor.shape[3]), as_categories(categories, tensor.shape[1])
        if tensor.device.type != "cpu":
            return cls._from_device(pack_bool_on_device(tensor), len(tensor), size, known)
        return cls._from_images(pack_bool(tensor, torch.get_num_threads()), size, known)

    @classmethod
    def from_labels(
        cls,
        maps: Any,
        num_concepts: int | None = None,
        ignore_index: int = 0,
        categories: Categories | Sequence[str] | None = None,
    ) -> "PackedMasks":
        """Packs label maps. A pixel carries a concept if any layer says so.

        Args:
            maps: integers ``[N, H, W]``, or ``[N, layers, H, W]`` for several layers.
            num_concepts: ``C``; without it, the largest label decides.
            ignore_index: the label that means unlabelled. With 0, concept ``c`` is
                label ``c + 1``; with another (255, -100, ...) it is label ``c``.
            categories: the category's name of each concept; without them there is
                one category, annotated in every image.

        Raises:
            InputError: another shape or dtype, or a label outside the ``num_concepts``.
        """
        tensor = as_tensor(maps, "masks")
        if tensor.dtype == torch.bool or tensor.is_floating_point() or tensor.is_complex() or tensor.ndim not in (3, 4):
            raise InputError(
                f"masks: expected integer label maps [N, H, W] or [N, layers, H, W], found {_describe(tensor)}"
            )
        if 0 in tensor.shape[-2:]:
            raise InputError(f"masks: expected label maps of at least one pixel, found {_describe(tensor)}")
        layers = tensor if tensor.ndim == 4 else tensor[:, None]
        first = 1 if ignore_index == 0 else 0
        limit = _LARGEST_LABEL - first + 1 if num_concepts is None else num_concepts
        vocabulary = Vocabulary(first, limit, ignore_index)
        images: ImageMasks | DeviceMasks
        if tensor.device.type == "cpu":
            images, unknown = pack_labels(layers, vocabulary, torch.get_num_threads())
        else:
            images, unknown = pack_labels_on_device(layers, vocabulary)
        low, high = unknown or (first, first)
        if num_concepts is None:
            if high > _LARGEST_LABEL:
                raise InputError(
                    f"masks: expected num_concepts with labels above {_LARGEST_LABEL}, found label {high}; "
                    "if it means unlabelled, give it as ignore_index"
                )
            num_concepts = (
                max((int(found.max()) for found in (images.concepts, images.whole) if len(found)), default=-1) + 1
            )
        if unknown:
            raise InputError(
                f"masks: expected labels {first} to {first + num_concepts - 1} for {num_concepts} concepts, "
                f"or {ignore_index} for unlabelled, found {low if low < first else high}"
            )
        size, known = (tensor.shape[-2], tensor.shape[-1]), as_categories(categories, num_concepts)
        if isinstance(images, DeviceMasks):
            return cls._from_device(images, len(tensor), size, known)
        return cls._from_images(images, size, known)

    @classmethod
    def _from_images(cls, images: ImageMasks, size: tuple[int, int], categories: Categories) -> "PackedMasks":
        def ranges(offsets: npt.NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(np.stack([offsets[:-1], offsets[1:]], axis=1))

        carried = annotated(categories, images.bitmap_offsets, images.concepts, images.whole_offsets, images.whole)
        return cls(
            size=size,
            categories=categories,
            bitmap_ranges=ranges(images.bitmap_offsets),
            bitmap_concepts=torch.from_numpy(images.concepts),
            bitmap_pixels=torch.from_numpy(images.pixels),
            bitmaps=torch.from_numpy(images.bitmaps),
            whole_ranges=ranges(images.whole_offsets),
            whole_concepts=torch.from_numpy(images.whole),
            annotated=torch.from_numpy(carried),
        )

    @classmethod
    def _from_device(
        cls, masks: DeviceMasks, images: int, size: tuple[int, int], categories: Categories
    ) -> "PackedMasks":
        device = masks.bitmaps.device
        category_of = categories.of_concept.to(device)
        carried = torch.full((images, len(categories)), int(categories.everywhere), dtype=torch.uint8, device=device)

        def ranges(of_images: Tensor, concepts: Tensor) -> Tensor:
            carried[of_images, category_of[concepts.long()]] = 1
            offsets = torch.zeros(images + 1, dtype=torch.int64, device=device)
            offsets[1:] = torch.bincount(of_images, minlength=images)[:images].cumsum(0)
            return torch.stack([offsets[:-1], offsets[1:]], dim=1)

        return cls(
            size=size,
            categories=categories,
            bitmap_ranges=ranges(masks.images, masks.concepts),
            bitmap_concepts=masks.concepts,
            bitmap_pixels=masks.pixels,
            bitmaps=masks.bitmaps,
            whole_ranges=ranges(masks.whole_images, masks.whole),
            whole_concepts=masks.whole,
            annotated=carried,
        )

    @classmethod
    def load(cls, path: str | Path) -> "PackedMasks":
        """Opens a file that :meth:`save` wrote. It is memory-mapped: nothing but what is used is read.

        Raises:
            InputError: no such file, another format, a newer version, or damaged contents.
        """
        path = Path(path)
        return cls.from_file(path, *read_masks(path))

    @classmethod
    def from_file(
        cls, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], bitmap_map: MappedTensor
    ) -> "PackedMasks":
        """Checks and takes up what ``read_masks`` read from the file ``path``.

        Raises:
            InputError: damaged contents.
        """

        def check(condition: bool, what: str) -> None:
            if not condition:
                raise InputError(f"{path}: damaged packed masks: {what}")

        for name, dtype in _TENSORS.items():
            check(name in tensors, f"no tensor {name!r}")
            check(tensors[name].dtype == dtype, f"{name} is {tensors[name].dtype}, expected {dtype}")
            axes = {"bitmaps": 3, "annotated": 2}.get(name, 1)
            check(tensors[name].ndim == axes, f"{name} has {tensors[name].ndim} axes, expected {axes}")
        try:
            size = (int(metadata["height"]), int(metadata["width"]))
            names, everywhere = (
                tuple(json.loads(metadata["categories"])),
                bool(json.loads(metadata["everywhere"])),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}: damaged packed masks: metadata: {error}") from None
        categories = Categories(names, tensors["concept_category"], everywhere)
        bitmaps, concepts, whole = tensors["bitmaps"], tensors["bitmap_concepts"], tensors["whole_concepts"]
        images = len(tensors["bitmap_offsets"]) - 1
        check(tuple(bitmaps.shape[1:]) == (size[0], row_bytes(size[1])), f"bitmaps are {list(bitmaps.shape)}")
        check(len(bitmaps) == len(concepts) == len(tensors["bitmap_pixels"]), "as many bitmaps as concepts")
        check(tuple(tensors["annotated"].shape) == (images, len(names)), "annotated is [N, K]")
        for offsets, total in (
            (tensors["bitmap_offsets"], len(concepts)),
            (tensors["whole_offsets"], len(whole)),
        ):
            check(len(offsets) == images + 1 and bool(offsets[0] == 0 and offsets[-1] == total), "offsets")
            check(bool((offsets[1:] >= offsets[:-1]).all()), "offsets")
        for numbers, limit in (
            (concepts, categories.num_concepts),
            (whole, categories.num_concepts),
            (categories.of_concept, len(names)),
        ):
            check(
                numbers.numel() == 0 or bool(numbers.min() >= 0 and numbers.max() < limit),
                "a number out of range",
            )
        return cls(
            size=size,
            categories=categories,
            bitmap_ranges=torch.stack([tensors["bitmap_offsets"][:-1], tensors["bitmap_offsets"][1:]], dim=1),
            bitmap_concepts=concepts,
            bitmap_pixels=tensors["bitmap_pixels"],
            bitmaps=bitmaps,
            whole_ranges=torch.stack([tensors["whole_offsets"][:-1], tensors["whole_offsets"][1:]], dim=1),
            whole_concepts=whole,
            annotated=tensors["annotated"],
            bitmap_map=bitmap_map,
        )

    def save(self, path: str | Path) -> None:
        """Writes the masks to a safetensors file, under another name first, then renamed."""
        source = self.to("cpu")
        with atomic_write(Path(path)) as file:
            writer = MaskWriter(file, source.size, source.categories)
            for n in range(len(source)):
                bitmaps, whole = slice(*source.bitmap_ranges[n].tolist()), slice(*source.whole_ranges[n].tolist())
                concepts, covering = source.bitmap_concepts[bitmaps].numpy(), source.whole_concepts[whole].numpy()
                writer.append(
                    ImageMasks(
                        np.array([0, len(concepts)]),
                        concepts,
                        source.bitmap_pixels[bitmaps].numpy(),
                        source.bitmaps[bitmaps].numpy(),
                        np.array([0, len(covering)]),
                        covering,
                    )
                )
            writer.finish()

    @property
    def num_concepts(self) -> int:
        """``C``."""
        return self.categories.num_concepts

    @property
    def device(self) -> torch.device:
        """Where the bitmaps are."""
        return self.bitmaps.device

    def __len__(self) -> int:
        return self.bitmap_ranges.shape[0]

    def __getitem__(self, images: slice | Sequence[int] | Tensor) -> "PackedMasks":
        """The masks of some images: a slice, or a sequence or tensor of indices or bools.

        Raises:
            TypeError: it is something else; the masks of one image are ``masks[i : i + 1]``.
        """
        if not isinstance(images, slice):
            images = torch.as_tensor(images, device=self.device)
            images = images.long() if images.numel() == 0 else images
            if images.ndim != 1:
                raise TypeError(f"masks: expected a slice or a sequence of indices, found {images.tolist()!r}")
        return self._replace(
            bitmap_ranges=self.bitmap_ranges[images],
            whole_ranges=self.whole_ranges[images],
            annotated=self.annotated[images],
        )

    def _replace(self, **changes: Any) -> "PackedMasks":
        return PackedMasks(**{**vars(self), **changes})

    def of_categories(self, categories: Categories) -> "PackedMasks":
        """The masks with these categories, of which there must be as many, for as many concepts or more."""
        return self if categories == self.categories else self._replace(categories=categories)

    def to(self, device: str | torch.device) -> "PackedMasks":
        """The masks on another device, without the bitmaps of images that are not among them; themselves if they are
        there.
        """
        if self.device == torch.device(device):
            return self
        return self.compact().map(lambda tensor: tensor.to(device))

    def compact(self) -> "PackedMasks":
        """The same masks without those of other images, which the tensors of a selection hold too.

        Of consecutive images nothing is copied.
        """
        bitmaps, whole = _held(self.bitmap_ranges), _held(self.whole_ranges)
        return self._replace(
            bitmap_ranges=_consecutive(self.bitmap_ranges),
            bitmap_concepts=self.bitmap_concepts[bitmaps],
            bitmap_pixels=self.bitmap_pixels[bitmaps],
            bitmaps=self.bitmaps[bitmaps],
            whole_ranges=_consecutive(self.whole_ranges),
            whole_concepts=self.whole_concepts[whole],
            bitmap_map=None,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in vars(self).values() if isinstance(tensor, Tensor))

    def map(self, change: Callable[[Tensor], Tensor], names: Sequence[str] | None = None) -> "PackedMasks":
        """The masks with those tensors changed that have one of the names, or all; they lie in no file then."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        changed = {name: change(tensors[name]) for name in (tensors if names is None else names)}
        return self._replace(**changed, bitmap_map=None)

    def release(self) -> None:
        """Gives back the memory of these images' bitmaps, if they lie in a file; used again, they are read again."""
        if self.bitmap_map is not None and len(self):
            self.bitmap_map.release(int(self.bitmap_ranges[:, 0].min()), int(self.bitmap_ranges[:, 1].max()))

    def concept_area(self) -> Tensor:
        """``[C]`` int64: pixels of each concept's mask, summed over the images."""
        area = torch.zeros(self.num_concepts, dtype=torch.int64, device=self.device)
        bitmaps, whole = _places(self.bitmap_ranges), _places(self.whole_ranges)
        area.index_add_(0, self.bitmap_concepts[bitmaps].long(), self.bitmap_pixels[bitmaps].long())
        pixels = torch.full((len(whole),), self.size[0] * self.size[1], dtype=torch.int64, device=self.device)
        return area.index_add_(0, self.whole_concepts[whole].long(), pixels)

    def concept_images(self) -> Tensor:
        """``[C]`` int64: in how many images each concept has a pixel."""
        concepts = torch.cat(
            [
                self.bitmap_concepts[_places(self.bitmap_ranges)],
                self.whole_concepts[_places(self.whole_ranges)],
            ]
        )
        return torch.bincount(concepts, minlength=self.num_concepts)

    def unpack(self) -> Tensor:
        """The masks as bool ``[N, C, H, W]``, on their device."""
        source = self.to("cpu")
        masks = torch.zeros((len(self), self.num_concepts, *self.size), dtype=torch.bool)
        for n, (bitmaps, whole) in enumerate(
            zip(source.bitmap_ranges.tolist(), source.whole_ranges.tolist(), strict=True)
        ):
            bits = source.bitmaps[slice(*bitmaps)]
            planes = source.bitmap_concepts[slice(*bitmaps)].long()
            _cpu.unpack(
                bitmaps=bits.data_ptr(),
                planes=planes.data_ptr(),
                count=len(bits),
                H=self.size[0],
                W=self.size[1],
                threads=torch.get_num_threads(),
                masks=masks[n].data_ptr(),
            )
            masks[n, source.whole_concepts[slice(*whole)].long()] = True
        return masks.to(self.device)

    def __repr__(self) -> str:
        return (
            f"PackedMasks({len(self)} images, {self.num_concepts} concepts, "
            f"{self.size[0]} x {self.size[1]} pixels, {self.device})"
        )


def _places(ranges: Tensor) -> Tensor:
    """The numbers of all the ranges ``[N, 2]``, one after the other."""
    lengths = ranges[:, 1] - ranges[:, 0]
    starts = torch.repeat_interleave(ranges[:, 0] - (lengths.cumsum(0) - lengths), lengths)
    return starts + torch.arange(len(starts), device=ranges.device)


def _held(ranges: Tensor) -> slice | Tensor:
    """What ``ranges`` ``[N, 2]`` hold: a slice where each begins at the end of the one before, else numbers."""
    if len(ranges) and torch.equal(ranges[1:, 0], ranges[:-1, 1]):
        return slice(int(ranges[0, 0]), int(ranges[-1, 1]))
    return _places(ranges)


def _consecutive(ranges: Tensor) -> Tensor:
    """Ranges ``[N, 2]`` of the same lengths, the first from 0 on, each from the end of the one before."""
    ends = (ranges[:, 1] - ranges[:, 0]).cumsum(0)
    return torch.stack([torch.cat([ends.new_zeros(1), ends])[: len(ends)], ends], dim=1)


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def as_masks(masks: Any, categories: Categories | None = None, num_concepts: int | None = None) -> PackedMasks:
    """Packed masks from what a caller may give.

    Args:
        masks: ``PackedMasks``, bool ``[N, C, H, W]``, or integer label maps ``[N, H, W]``
            (0 = unlabelled; concept ``c`` is label ``c + 1``).
        categories: of bool masks and label maps; without them there is a single one.
        num_concepts: of label maps.

    Raises:
        InputError: anything else.
    """
    if isinstance(masks, PackedMasks):
        return masks
    tensor = as_tensor(masks, "masks")
    if tensor.dtype == torch.bool:
        return PackedMasks.from_bool(tensor, categories)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.ndim != 3:
        advice = (
            "; use .bool() for one-hot masks, PackedMasks.from_labels for several layers of labels"
            if tensor.ndim == 4
            else ""
        )
        raise InputError(
            "masks: expected PackedMasks, bool [N, C, H, W] or integer label maps [N, H, W], "
            f"found {_describe(tensor)}{advice}"
        )
    return PackedMasks.from_labels(tensor, num_concepts, categories=categories)
