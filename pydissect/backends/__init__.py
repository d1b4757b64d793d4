"""The backends, behind one small protocol, and the one place that chooses among them.

A backend registers a loader under its name; it is imported when it is chosen
and not before. Nothing outside this package asks which device it runs on.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..candidates import Candidates, Peaks
from ..errors import InputError
from ..grids import Grid
from ..masks import PackedMasks

NO_IMAGE = 2**63 - 1
"""The place of the first non-finite map where there is none."""


DTYPE_NUMBERS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
"""The activations' dtypes as C++ numbers them, ``Dtype`` in ``csrc/core/floats.hpp``."""


class CountArguments(NamedTuple):
    """The arguments of ``count``, checked and normalised; all on one device.

    Attributes:
        acts: ``[N, U, h, w]`` fp32, fp16 or bf16, any strides.
        masks: of the same ``N`` images.
        threshold: ``[L, U]`` fp32, contiguous; one that is NaN is above every value.
        grid: of the upsampling.
        nonfinite_off: count maps with non-finite values too, those pixels off.
    """

    acts: Tensor
    masks: PackedMasks
    threshold: Tensor
    grid: Grid
    nonfinite_off: bool


@dataclass
class Sums:
    """What a backend adds to; int64, contiguous, on the device of the activations.

    Attributes:
        intersection: ``[L, U, C]``.
        unit_area: ``[L, U, K]``, over the images in which category ``k`` is annotated.
        unit_area_all: ``[L, U]``, over all images.
        concept_area: ``[C]``.
    """

    intersection: Tensor
    unit_area: Tensor
    unit_area_all: Tensor
    concept_area: Tensor

    @classmethod
    def zeros(cls, levels: int, units: int, concepts: int, categories: int, device: torch.device) -> "Sums":
        """All zero."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        return cls(
            intersection=zeros(levels, units, concepts),
            unit_area=zeros(levels, units, categories),
            unit_area_all=zeros(levels, units),
            concept_area=zeros(concepts),
        )


@dataclass
class Selection:
    """Per unit, the values that can still be among the ``keep`` largest.

    Attributes:
        values: ``[U, capacity]`` fp32, of which the first ``fill[u]`` are held; all finite.
        fill: ``[U]`` int64.
        bound: ``[U]`` fp32; values at or below it no longer matter, for at least ``keep`` that are no smaller are held.
            -inf as long as there are fewer.
        keep: how many are wanted; at most the capacity less 256.
    """

    values: Tensor
    fill: Tensor
    bound: Tensor
    keep: int

    def held(self) -> Tensor:
        """``[U, capacity]`` fp32: the values held, -inf beyond them."""
        places = torch.arange(self.values.shape[1], device=self.values.device)
        return torch.where(places < self.fill[:, None], self.values, -torch.inf)


class Backend(Protocol):
    """What a backend does. ``count`` and ``select`` return the smallest ``n * U + u`` of a map with a non-finite value.

    That is an int64 scalar tensor on the device, so that no launch waits for it, or a plain int where it is known at
    once; ``NO_IMAGE`` where all are finite.
    """

    name: str

    def unavailable(self, device: torch.device) -> str | None:
        """Why it cannot work on this device here, or None if it can."""

    def details(self) -> str:
        """Versions and what it was built for; only asked where it works on some device."""

    def count(self, arguments: CountArguments, sums: Sums) -> Tensor | int:
        """Adds the counts of a batch to the sums."""

    def select(self, acts: Tensor, selection: Selection) -> Tensor | int:
        """Adds to the selection what a batch ``[N, U, h, w]`` holds of it."""

    def values_of_ranks(self, selection: Selection, ranks: Sequence[int]) -> Tensor:
        """``[len(ranks), U]`` fp32: the ``(k + 1)``-th largest of the values held, or -inf if there are fewer."""

    def sift(self, acts: Tensor, bound: Tensor, peak_bound: Tensor) -> tuple[Candidates, Peaks]:
        """The candidates of a batch ``[N, U, h, w]``, and its maps' peaks.

        Args:
            acts: any strides, ``U * h * w`` below ``2**31``.
            bound: ``[U]`` fp32, of the candidates. Under -inf all of a unit's values are some.
            peak_bound: ``[U]`` fp32, of the peaks.
        """

    def prune(self, candidates: Candidates, bound: Tensor) -> Candidates:
        """Those candidates that are some under a higher bound too."""

    def spread(self, candidates: Candidates) -> Tensor:
        """``[N, U, h, w]``, contiguous: the candidates' values, and the lowest finite value everywhere else."""


def _load(module: str) -> Callable[[], Backend]:
    return cache(lambda: importlib.import_module(f".{module}", __package__).BACKEND)


# Best first: "auto" takes the first that works on the device.
_LOADERS: dict[str, Callable[[], Backend]] = {
    "cuda": _load("cuda"),
    "cupy": _load("cupy"),
    "cpu": _load("cpu"),
    "triton": _load("triton"),
    "reference": _load("reference"),
}


def backend_names() -> tuple[str, ...]:
    """The names of all backends, the fastest first."""
    return tuple(_LOADERS)


def load_backend(name: str) -> Backend:
    """The backend of that name, whether it works here or not."""
    return _LOADERS[name]()


def choose_backend(name: str, device: torch.device) -> Backend:
    """The backend of that name, or the best for the device.

    Args:
        name: a backend's name, or ``"auto"``: the one that the environment variable
            ``PYDISSECT_BACKEND`` names, else the fastest that works on the device.
        device: of the activations.

    Raises:
        InputError: no such backend, or it cannot be had here; the message says why.
    """
    source = "backend"
    if name == "auto" and os.environ.get("PYDISSECT_BACKEND"):
        name, source = os.environ["PYDISSECT_BACKEND"], "PYDISSECT_BACKEND"
    if name == "auto":
        for load in _LOADERS.values():
            backend = load()
            if backend.unavailable(device) is None:
                return backend
        raise InputError(f"backend: none works on device {device}")
    if name not in _LOADERS:
        raise InputError(f"{source}: expected auto, {', '.join(_LOADERS)}, found {name!r}")
    backend = load_backend(name)
    reason = backend.unavailable(device)
    if reason is not None:
        on_gpu = backend.unavailable(torch.device("cuda")) if device.type == "cpu" else None
        if on_gpu is not None:
            reason = f"{reason}; but on device cuda, {on_gpu}" if on_gpu != reason else reason
        raise InputError(f"{source}: {name!r} cannot be used on device {device}: {reason}")
    return backend
