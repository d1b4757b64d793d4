"""The one registry of workloads: sizes, and made activations as sparse as real ones."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pydissect import PackedMasks, quantile_thresholds

QUANTILE = 0.005
MASK_SIZE = (112, 112)
MASKS_PER_IMAGE = 25
CONCEPTS = 100


@dataclass(frozen=True)
class Workload:
    """Activations ``[images, units, side, side]`` of which a share of the maps is live.

    ``live_maps`` is the share of maps with a value above the threshold, measured on SqueezeNet
    ``features.12`` (7 x 7 with 128-pixel input, 13 x 13), ``features.8`` and ``features.4``.
    """

    images: int
    units: int
    side: int
    live_maps: float

    @property
    def name(self) -> str:
        return f"{self.images} x {self.units} x {self.side} x {self.side}"


WORKLOADS = (
    Workload(64, 512, 7, 0.159),
    Workload(64, 256, 13, 0.39),
    Workload(16, 256, 28, 0.81),
    Workload(8, 64, 56, 0.94),
)


def make_activations(workload: Workload, images: int, seed: int = 0) -> Tensor:
    """Rectified noise with blobs above it, fp32 ``[images, U, h, w]``, as sparse as a real layer.

    Blobs are spread so that the share of live maps is the workload's, and sized so that about
    ``QUANTILE`` of the values lie in one.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (images, workload.units, workload.side, workload.side)
    blobs_a_map = -math.log(1 - workload.live_maps)
    values_a_blob = QUANTILE * workload.side**2 / blobs_a_map
    centres = torch.rand(shape, generator=generator) < blobs_a_map / workload.side**2
    around = F.max_pool2d(centres.float(), 3, stride=1, padding=1) > 0
    grown = around & (torch.rand(shape, generator=generator) < max(values_a_blob - 1, 0) / 8)
    noise = (torch.rand(shape, generator=generator) * 4 - 3.2).clamp(min=0)
    return torch.where(centres | grown, 1 + torch.rand(shape, generator=generator), noise)


def make_masks(images: int, seed: int = 0) -> Tensor:
    """Rectangles, bool ``[images, CONCEPTS, 112, 112]``, ``MASKS_PER_IMAGE`` of the concepts in each image."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros((images, CONCEPTS, *MASK_SIZE), dtype=torch.bool)
    for image in masks:
        for concept in torch.randperm(CONCEPTS, generator=generator)[:MASKS_PER_IMAGE]:
            y, x, height, width = (int(torch.randint(4, 60, (), generator=generator)) for _ in range(4))
            image[concept, y : y + height, x : x + width] = True
    return masks


def density(acts: Tensor, threshold: Tensor) -> tuple[float, float]:
    """The shares of live maps and of live 2 x 2 source cells."""
    above = (acts > threshold[:, None, None]).float()
    return float(above.flatten(2).amax(2).mean()), float(F.max_pool2d(above, 2, stride=1).mean())


def check_density(workload: Workload, acts: Tensor, threshold: Tensor) -> None:
    """Raises an error if the activations are not as sparse as real ones."""
    live_maps, live_cells = density(acts, threshold)
    if abs(live_maps - workload.live_maps) > 0.06 or not 0.01 < live_cells < 0.02:
        raise AssertionError(f"{workload.name}: {live_maps:.3f} of the maps and {live_cells:.4f} of the cells are live")


def prepared(workload: Workload, images: int) -> tuple[Tensor, Tensor, PackedMasks, Tensor]:
    """Activations, bool masks, packed masks and thresholds of a workload."""
    acts, masks = make_activations(workload, images), make_masks(images)
    threshold = quantile_thresholds(acts, QUANTILE)
    check_density(workload, acts, threshold)
    return acts, masks, PackedMasks.from_bool(masks), threshold
