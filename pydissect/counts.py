"""The integers behind the IoU."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from . import reference
from .categories import Categories
from .errors import InputError
from .files import atomic_write
from .mask_file import check_format

FORMAT = "pydissect.counts"
VERSION = 1
_TENSORS = ("intersection", "unit_area", "unit_area_all", "concept_area")


class Best(NamedTuple):
    """The best concept of each unit, ``[U]`` or ``[L, U]``: its IoU, float64, and its index.

    The index is -1 where no IoU is above 0.
    """

    iou: Tensor
    concept: Tensor


@dataclass(frozen=True, eq=False)
class Counts:
    """Intersections and areas, in pixels summed over the images; all int64 torch tensors.

    With several levels of thresholds, those of units have a leading axis ``L``.

    Attributes:
        intersection: ``[U, C]`` pixels in both the unit mask and the concept mask.
        unit_area: ``[U, K]`` pixels of the unit mask, over the images in which category ``k`` is annotated.
        unit_area_all: ``[U]`` the same, over all images.
        concept_area: ``[C]`` pixels of the concept mask.
        categories: of the concepts.
    """

    intersection: Tensor
    unit_area: Tensor
    unit_area_all: Tensor
    concept_area: Tensor
    categories: Categories

    def level(self, level: int) -> "Counts":
        """The counts above the thresholds of one of several levels."""
        tensors = {name: getattr(self, name)[level] for name in ("intersection", "unit_area", "unit_area_all")}
        return replace(self, **tensors)

    def __add__(self, other: "Counts") -> "Counts":
        """The counts of both sets of images together.

        Raises:
            InputError: they differ in units, levels, concepts or categories.
        """
        if not isinstance(other, Counts):
            return NotImplemented
        if self.categories != other.categories or self.intersection.shape != other.intersection.shape:
            raise InputError(
                f"counts: expected {list(self.intersection.shape)} intersections and categories "
                f"{self.categories.names}, found {list(other.intersection.shape)} "
                f"and {other.categories.names}"
            )
        device = self.intersection.device
        return replace(self, **{name: getattr(self, name) + getattr(other, name).to(device) for name in _TENSORS})

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Counts)
            and self.categories == other.categories
            and all(torch.equal(getattr(self, name), getattr(other, name)) for name in _TENSORS)
        )

    __hash__ = None  # type: ignore[assignment]

    def iou(self, union: str = "category") -> Tensor:
        """``[U, C]`` float64: intersection over union, 0 where the union is empty.

        Bau et al. 2017, equation 1.

        Args:
            union: ``"category"`` sums a unit's area over the images in which the concept's
                category is annotated, as the paper does; ``"all"`` over all images.

        Raises:
            InputError: ``union`` is neither.
        """
        if check_union(union) == "category":
            area = self.unit_area[..., self.categories.of_concept.to(self.unit_area.device)]
        else:
            area = self.unit_area_all[..., None]
        return reference.iou(self.intersection, area, self.concept_area)

    def best(self, category: str | None = None, union: str = "category") -> Best:
        """The best concept of each unit, of all or of one category's; ties go to the lower index.

        Raises:
            InputError: no such category, or a wrong ``union``.
        """
        iou = self.iou(union)
        if category is not None:
            inside = self.categories.of_concept.to(iou.device) == self.categories.index(category)
            iou = torch.where(inside, iou, 0.0)
        return best_of(iou)

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None, **tensors: Tensor) -> None:
        """Writes the counts, and more ``tensors`` and ``metadata`` if given, to a safetensors file."""
        everything = {name: getattr(self, name).cpu().contiguous() for name in _TENSORS}
        everything["concept_category"] = self.categories.of_concept.cpu().contiguous()
        everything.update({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        text = {
            "format": FORMAT,
            "version": str(VERSION),
            "categories": json.dumps(self.categories.names),
            "everywhere": json.dumps(self.categories.everywhere),
            **(metadata or {}),
        }
        with atomic_write(Path(path)) as file:
            file.write(to_safetensors(everything, text))

    @classmethod
    def load(cls, path: str | Path) -> "Counts":
        """Reads a file that :meth:`save` wrote.

        Raises:
            InputError: no such file, another format, a newer version, or damaged contents.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                check_format(path, metadata, FORMAT, VERSION)
                tensors = {name: file.get_tensor(name).clone() for name in _TENSORS}
                categories = Categories(
                    tuple(json.loads(metadata["categories"])),
                    file.get_tensor("concept_category").clone(),
                    bool(json.loads(metadata["everywhere"])),
                )
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: cannot be read as counts: {error}") from None
        counts = cls(**tensors, categories=categories)
        if (problem := counts._inconsistency()) is not None:
            raise InputError(f"{path}: cannot be read as counts: {problem}")
        return counts

    def _inconsistency(self) -> str | None:
        of_concept, units = self.categories.of_concept, tuple(self.intersection.shape[:-1])
        shapes = {
            "intersection": (*units, len(of_concept)),
            "unit_area": (*units, len(self.categories)),
            "unit_area_all": units,
            "concept_area": (len(of_concept),),
        }
        for name, shape in shapes.items():
            found = getattr(self, name)
            if found.dtype != torch.int64 or tuple(found.shape) != shape:
                return f"{name}: expected int64 {list(shape)}, found {found.dtype} {list(found.shape)}"
        if of_concept.numel() and not bool(of_concept.min() >= 0 and of_concept.max() < len(self.categories)):
            return f"concept_category: expected numbers below {len(self.categories)}, the number of categories"
        return None


def check_union(union: str) -> str:
    """``union`` itself, if it is one of the two kinds.

    Raises:
        InputError: it is something else.
    """
    if union not in ("category", "all"):
        raise InputError(f"union: expected 'category' or 'all', found {union!r}")
    return union


def best_of(iou: Tensor) -> Best:
    """The largest entry of the last axis and its place; ties go to the lower place, and 0 has place -1."""
    if iou.shape[-1] == 0:
        return Best(iou.new_zeros(iou.shape[:-1]), torch.full(iou.shape[:-1], -1, device=iou.device))
    largest = iou.amax(-1)
    places = torch.arange(iou.shape[-1], device=iou.device)
    first = torch.where(iou == largest[..., None], places, iou.shape[-1]).amin(-1)
    return Best(largest, torch.where(largest > 0, first, -1))
