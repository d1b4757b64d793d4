"""Counting in batches."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _cpu
from .acts import as_acts
from .arrays import as_tensor
from .backends import Backend, CountArguments, Sums, choose_backend
from .categories import Categories, as_categories
from .counts import Counts
from .errors import InputError
from .grids import Grid, check_grid
from .masks import PackedMasks, as_masks
from .nonfinite import NonfiniteFlag, check_policy


def as_levels(threshold: Any, units: int | None = None) -> tuple[Tensor, bool]:
    """Thresholds as fp32 ``[L, U]``, and whether they came as levels.

    Args:
        threshold: a number (needs ``units``), ``[U]`` or ``[L, U]``; tensors, arrays or lists.
        units: how many there must be.

    Raises:
        InputError: another shape, or NaN.
    """
    if isinstance(threshold, int | float | list | tuple) and not isinstance(threshold, bool):
        try:
            threshold = torch.tensor(threshold, dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"threshold: expected a number, [U] or [L, U]: {error}") from None
    tensor = as_tensor(threshold, "threshold")
    if tensor.ndim == 0:
        if units is None:
            raise InputError("threshold: expected one for each unit, [U] or [L, U], found a single number")
        tensor = tensor.expand(units)
    if not (tensor.is_floating_point() or tensor.dtype in (torch.int32, torch.int64)) or tensor.ndim > 2:
        raise InputError(
            "threshold: expected a number, [U] or [L, U], "
            f"found {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        )
    if units is not None and tensor.shape[-1] != units:
        raise InputError(f"threshold: expected one for each of the {units} units, found shape {list(tensor.shape)}")
    levels = _as_float32(tensor if tensor.ndim == 2 else tensor[None])
    if len(levels) == 0:
        raise InputError(f"threshold: expected at least one level, found shape {list(tensor.shape)}")
    if levels.isnan().any():
        level, unit = levels.isnan().nonzero()[0].tolist()
        raise InputError(
            f"threshold: expected no NaN, found one for unit {unit}" + (f" of level {level}" if level else "")
        )
    return levels, tensor.ndim == 2


def _as_float32(tensor: Tensor) -> Tensor:
    """Contiguous fp32; torch would flush subnormals where the caller has asked it to."""
    if tensor.dtype != torch.float64 or tensor.device.type != "cpu":
        return tensor.float().contiguous()
    source, result = tensor.contiguous(), torch.empty(tensor.shape)
    _cpu.round_to_float(source.data_ptr(), source.numel(), result.data_ptr())
    return result


def check_batch(acts: Tensor, masks: PackedMasks) -> None:
    """Checks that masks are of the same images and on the same device as the activations.

    Raises:
        InputError: they are not.
    """
    images = acts.shape[0]
    if len(masks) != images:
        raise InputError(f"masks: expected those of {images} images, one for each of acts, found {len(masks)}")
    if masks.device != acts.device:
        raise InputError(f"masks: expected device {acts.device}, that of acts, found {masks.device}")


class Tally:
    """Counts, streaming: ``update`` with batches, then ``compute``.

    Args:
        threshold: ``[U]``, or ``[L, U]`` for several levels in one pass; rounded to fp32.
        num_concepts: ``C``.
        categories: the category's name of each concept, or ``PackedMasks.categories``;
            without them, those of the first packed masks, or a single one for bool
            masks and label maps.
        grid: ``"half_pixel"``, ``"align_corners"`` or a :class:`ReceptiveField`.
        nonfinite: ``"error"`` refuses NaN, infinite and huge (``>= 2**126``) activations
            (``compute`` names unit and image; on the CPU ``update`` does so at once; the tally
            then gives no counts until ``reset``), ``"off"`` counts a pixel with such a corner as off.
        backend: see :func:`pydissect.fast_iou`.

    Raises:
        InputError: a wrong argument.
    """

    def __init__(
        self,
        threshold: Any,
        num_concepts: int,
        categories: Categories | Sequence[str] | None = None,
        *,
        grid: Grid = "half_pixel",
        nonfinite: str = "error",
        backend: str = "auto",
    ) -> None:
        self.threshold, self._several = as_levels(threshold)
        self.num_concepts = num_concepts
        self._given_categories = None if categories is None else as_categories(categories, num_concepts)
        self.grid = check_grid(grid)
        self._nonfinite_off = check_policy(nonfinite)
        self._backend = backend
        self._chosen: Backend | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets all that was counted, and categories that came with the masks."""
        self.categories = self._given_categories
        self._sums: Sums | None = None
        self._images = 0
        self._nonfinite = NonfiniteFlag()

    @property
    def device(self) -> torch.device:
        """Where the counters are."""
        return self.threshold.device

    def update(self, acts: Any, masks: Any) -> None:
        """Counts a batch.

        Args:
            acts: ``[N, U, h, w]`` fp32, fp16 or bf16, any strides.
            masks: of the same images: ``PackedMasks``, bool ``[N, C, H, W]`` or label maps ``[N, H, W]``.

        Raises:
            InputError: shapes, dtypes, devices or categories that do not match.
        """
        acts = as_acts(acts)
        packed = as_masks(masks, self.categories, self.num_concepts)
        units = self.threshold.shape[1]
        if acts.shape[1] != units:
            raise InputError(f"acts: expected {units} units, one for each threshold, found {acts.shape[1]}")
        check_batch(acts, packed)
        if packed.categories is not self.categories:
            self._take_up(packed.categories)
        if acts.device != self.device:
            if self._sums is not None:
                raise InputError(f"acts: expected device {self.device} as before, found {acts.device}")
            self.to(acts.device)
        self._count(acts, packed)

    def _take_up(self, categories: Categories) -> None:
        if categories.num_concepts != self.num_concepts:
            raise InputError(f"masks: expected {self.num_concepts} concepts, found {categories.num_concepts}")
        if self.categories is None:
            self.categories = categories
        elif categories != self.categories:
            raise InputError(f"masks: expected categories {self.categories.names}, found {categories.names}")

    def _count(self, acts: Tensor, packed: PackedMasks) -> None:
        sums = self._sums or self._zeros()
        arguments = CountArguments(acts, packed, self.threshold, self.grid, self._nonfinite_off)
        if self._chosen is None:
            self._chosen = choose_backend(self._backend, acts.device)
        place = self._chosen.count(arguments, sums)
        if not self._nonfinite_off:
            self._nonfinite.note(place, self._images, acts.shape[1])
            if isinstance(place, int) or place.device.type == "cpu":
                self._nonfinite.check()
        self._sums = sums
        self._images += acts.shape[0]

    def _zeros(self) -> Sums:
        assert self.categories is not None
        levels, units = self.threshold.shape
        return Sums.zeros(levels, units, self.num_concepts, len(self.categories), self.device)

    def compute(self) -> Counts:
        """The counts of all batches so far.

        Raises:
            InputError: a non-finite activation, under ``nonfinite="error"``.
        """
        self._nonfinite.check()
        if self.categories is None:
            self.categories = Categories.single(self.num_concepts)
        sums = self._sums or self._zeros()
        tensors = [sums.intersection, sums.unit_area, sums.unit_area_all]
        if not self._several:
            tensors = [tensor[0] for tensor in tensors]
        intersection, unit_area, unit_area_all = (tensor.clone() for tensor in tensors)
        return Counts(intersection, unit_area, unit_area_all, sums.concept_area.clone(), self.categories)

    def merge(self, other: "Tally") -> "Tally":
        """Adds what another tally of the same thresholds has counted; returns itself.

        Raises:
            InputError: the two differ in thresholds, grid, concepts or categories.
        """
        if not torch.equal(self.threshold, other.threshold.to(self.device)):
            raise InputError("merge: expected tallies of the same thresholds, found others")
        if self.num_concepts != other.num_concepts:
            raise InputError(f"merge: expected {self.num_concepts} concepts, found {other.num_concepts}")
        if self.grid != other.grid:
            raise InputError(f"merge: expected grid {self.grid}, found {other.grid}")
        if (first := other._nonfinite.first()) is not None:
            units = self.threshold.shape[1]
            self._nonfinite.note(torch.tensor(first[0] * units + first[1]), self._images, units)
        if other._sums is None:
            return self
        if self.categories is None:
            self.categories = other.categories
        elif self.categories != other.categories:
            assert other.categories is not None
            raise InputError(f"merge: expected categories {self.categories.names}, found {other.categories.names}")
        sums = self._sums or self._zeros()
        for name, tensor in vars(sums).items():
            tensor.add_(getattr(other._sums, name).to(self.device))
        self._sums = sums
        self._images += other._images
        return self

    def state_dict(self) -> dict[str, Any]:
        """What has been counted, for :meth:`load_state_dict`; tensors and plain values."""
        sums, categories = self._sums, self.categories
        return {
            "threshold": self.threshold,
            "grid": repr(self.grid),
            "num_concepts": self.num_concepts,
            "categories": None if categories is None else list(categories.names),
            "concept_category": None if categories is None else categories.of_concept,
            "everywhere": None if categories is None else categories.everywhere,
            "sums": None if sums is None else {name: tensor.clone() for name, tensor in vars(sums).items()},
            "images": self._images,
            "first_nonfinite": self._nonfinite.first(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave.

        Raises:
            InputError: it is of other thresholds, grid, concepts or categories.
        """
        threshold = state["threshold"].to(self.device)
        if state["grid"] != repr(self.grid):
            raise InputError(f"state_dict: expected grid {self.grid!r}, found {state['grid']}")
        if not torch.equal(threshold, self.threshold) or state["num_concepts"] != self.num_concepts:
            raise InputError(
                f"state_dict: expected these thresholds {list(self.threshold.shape)} and {self.num_concepts} concepts, "
                f"found thresholds {list(threshold.shape)} and {state['num_concepts']} concepts"
            )
        categories = None
        if state["categories"] is not None:
            categories = Categories(tuple(state["categories"]), state["concept_category"], state["everywhere"])
            if categories.num_concepts != self.num_concepts:
                raise InputError(
                    f"state_dict: expected the category of each of {self.num_concepts} concepts, "
                    f"found {categories.num_concepts}"
                )
            if self._given_categories not in (None, categories):
                raise InputError(
                    f"state_dict: expected categories {self._given_categories.names}, found {categories.names}"
                )
        self.reset()
        self.categories = categories or self._given_categories
        if state["sums"] is not None:
            self._sums = Sums(**{name: tensor.to(self.device, copy=True) for name, tensor in state["sums"].items()})
        self._images = state["images"]
        if state["first_nonfinite"] is not None:
            image, unit = state["first_nonfinite"]
            units = self.threshold.shape[1]
            self._nonfinite.note(torch.tensor(image * units + unit), 0, units)

    def to(self, device: str | torch.device) -> "Tally":
        """Moves thresholds and counters to a device; returns itself."""
        self.threshold = self.threshold.to(device)
        self._chosen = None
        if self._sums is not None:
            self._sums = Sums(**{name: tensor.to(device) for name, tensor in vars(self._sums).items()})
        return self
