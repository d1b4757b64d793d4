"""The one registry of workloads: sizes and formats, and made data as sparse as that of real networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..messages import nearest_names

QUANTILE = 0.005
MASK_SIZE = (112, 112)
MASKS_PER_IMAGE = 25
CONCEPTS = 100
LABEL_LAYERS = 3

_REACH = 24  # pixels from its centre that a labelled region extends at most
_CROSS = torch.tensor([[[[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]])


@dataclass(frozen=True)
class CountingWorkload:
    """Activations ``[images, units, side, side]`` a batch, of which a share of the maps is live.

    Attributes:
        name: by which ``--workload`` asks for it.
        images: a batch.
        units: ``U``.
        side: ``h`` and ``w``.
        live_maps: the share of maps with a value above the threshold.
        live_cells: the share of 2 x 2 cells of values with one above it.
        blobs: a live map, which give about this share of cells.
        measured_on: the real layer that has these shares.
    """

    name: str
    images: int
    units: int
    side: int
    live_maps: float
    live_cells: float
    blobs: float
    measured_on: str


@dataclass(frozen=True)
class ThresholdWorkload:
    """Activations ``[images, units, side, side]``, which come in batches."""

    name: str
    images: int
    units: int
    side: int


@dataclass(frozen=True)
class PackingWorkload:
    """Masks of ``images`` images, as ``kind``: ``"labels"`` (``LABEL_LAYERS`` label maps an image) or ``"bool"``."""

    name: str
    images: int
    kind: str


Workload = CountingWorkload | ThresholdWorkload | PackingWorkload
AnyWorkload = TypeVar("AnyWorkload", bound=CountingWorkload | ThresholdWorkload | PackingWorkload)

WORKLOADS: tuple[Workload, ...] = (
    CountingWorkload("7x7", 64, 512, 7, 0.159, 0.0157, 1.0, "SqueezeNet features.12, photos of 128 pixels"),
    CountingWorkload("13x13", 64, 256, 13, 0.387, 0.0154, 1.1, "SqueezeNet features.12, photos of 224 pixels"),
    CountingWorkload("28x28", 16, 256, 28, 0.81, 0.014, 1.9, "SqueezeNet features.8, photos of 224 pixels"),
    CountingWorkload("56x56", 8, 64, 56, 0.94, 0.014, 6.5, "SqueezeNet features.4, photos of 224 pixels"),
    ThresholdWorkload("thresholds", 468, 512, 13),
    ThresholdWorkload("thresholds-large", 2048, 512, 13),
    PackingWorkload("packing-labels", 256, "labels"),
    PackingWorkload("packing-bool", 64, "bool"),
)


GPU_WORKLOADS: tuple[CountingWorkload, ...] = (
    CountingWorkload("2048x7x7", 32, 2048, 7, 0.159, 0.0157, 1.0, "SqueezeNet features.12, photos of 128 pixels"),
    CountingWorkload("256x13x13", 64, 256, 13, 0.387, 0.0154, 1.1, "SqueezeNet features.12, photos of 224 pixels"),
    CountingWorkload("512x28x28", 16, 512, 28, 0.81, 0.014, 1.9, "SqueezeNet features.8, photos of 224 pixels"),
    CountingWorkload("256x56x56", 8, 256, 56, 0.94, 0.014, 6.5, "SqueezeNet features.4, photos of 224 pixels"),
)
"""What ``pydissect bench --device`` measures: layers at the size they have in networks."""


@dataclass(frozen=True)
class Format:
    """How activations lie in memory."""

    name: str
    dtype: torch.dtype
    channels_last: bool = False


FORMATS = (
    Format("fp32", torch.float32),
    Format("fp16", torch.float16),
    Format("bf16", torch.bfloat16),
    Format("fp32 channels-last", torch.float32, channels_last=True),
)
"""The first is the one that is measured at every instruction set."""


def find_workloads(names: Sequence[str], workloads: Sequence[AnyWorkload]) -> tuple[AnyWorkload, ...]:
    """The workloads of these names, in their order; all of them if no name is given.

    Raises:
        InputError: there is no such workload.
    """
    known = [workload.name for workload in workloads]
    for name in names:
        if name not in known:
            raise InputError(
                f"--workload: expected one of {', '.join(known)}, found {name!r}{nearest_names(name, known)}"
            )
    return tuple(workload for workload in workloads if not names or workload.name in names)


def make_activations(
    images: int,
    units: int,
    side: int,
    live_maps: float,
    blobs: float,
    seed: int = 0,
) -> Tensor:  # [images, units, side, side] fp32
    """Rectified noise with blobs above it, as sparse as a real layer.

    A share ``live_maps`` of the maps has ``blobs`` blobs each, on average and at least one, which
    grow until ``QUANTILE`` of all values lie in one. So few blobs are large, and many touch more cells.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (images, units, side, side)
    live = torch.rand((images, units, 1, 1), generator=generator) < live_maps
    first = torch.rand((images, units, side * side), generator=generator).argmax(2, keepdim=True)
    centres = torch.zeros((images, units, side * side)).scatter_(2, first, 1).view(shape) > 0
    centres |= torch.rand(shape, generator=generator) < (blobs - 1) / side**2
    centres &= live
    around = F.conv2d(centres.float().view(-1, 1, side, side), _CROSS, padding=1).view(shape) > 0
    around &= ~centres
    # Unit by unit, as thresholds are: a unit that fell short of the quantile would have noise above its threshold.
    a_unit = images * side**2
    missing = QUANTILE * a_unit - centres.sum((0, 2, 3), keepdim=True)
    grown = around & (torch.rand(shape, generator=generator) < missing / around.sum((0, 2, 3), keepdim=True))
    noise = (torch.rand(shape, generator=generator) * 4 - 3.2).clamp(min=0)
    return torch.where(centres | grown, 1 + torch.rand(shape, generator=generator), noise)


def make_labels(images: int, seed: int = 0) -> Tensor:  # [images, LABEL_LAYERS, H, W] int32
    """Label maps of round regions: ``MASKS_PER_IMAGE`` of ``CONCEPTS`` labels in each image, 0 = unlabelled.

    Each layer has labels of its own, as the categories of an annotation do.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = MASK_SIZE
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    maps = torch.empty((images, LABEL_LAYERS, height, width), dtype=torch.int32)
    for layer in range(LABEL_LAYERS):
        regions, labels = (
            total * (layer + 1) // LABEL_LAYERS - total * layer // LABEL_LAYERS for total in (MASKS_PER_IMAGE, CONCEPTS)
        )
        # Different pixels, so that every region has at least its centre.
        centres = torch.rand((images, height * width), generator=generator).topk(regions).indices[..., None, None]
        distances = (rows - centres // width).square() + (columns - centres % width).square()
        nearest = distances.min(1)
        chosen = torch.rand((images, labels), generator=generator).topk(regions).indices
        first = 1 + CONCEPTS * layer // LABEL_LAYERS
        label = first + chosen.gather(1, nearest.indices.flatten(1)).view_as(nearest.indices)
        maps[:, layer] = torch.where(nearest.values <= _REACH**2, label, 0)
    return maps


def density(acts: Tensor, threshold: Tensor) -> tuple[float, float]:
    """The shares of live maps and of live 2 x 2 source cells."""
    above = (acts > threshold[:, None, None]).float()
    return float(above.flatten(2).amax(2).mean()), float(F.max_pool2d(above, 2, stride=1).mean())


def check_density(workload: CountingWorkload, live_maps: float, live_cells: float) -> None:
    """Checks that made activations are as sparse as the real layer: to 0.03 of all maps, and a tenth of the live cells.

    Raises:
        AssertionError: they are not.
    """
    if abs(live_maps - workload.live_maps) > 0.03 or abs(live_cells / workload.live_cells - 1) > 0.1:
        raise AssertionError(
            f"{workload.name}: expected shares of live maps and cells of {workload.live_maps:.3f} and "
            f"{workload.live_cells:.4f}, found {live_maps:.3f} and {live_cells:.4f}"
        )
