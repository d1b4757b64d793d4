"""Counting against plain torch (``F.interpolate``, compare, matrix product), all threads each.

Both work on the same activations and masks, and their order alternates, so that the ratio holds on
a noisy machine. Run it from the repository's root: ``python benchmarks/counting.py``.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from workloads import MASK_SIZE, WORKLOADS, prepared

from pydissect import count

ROUNDS = 5


def plain_torch(acts: Tensor, masks: Tensor, threshold: Tensor) -> Tensor:
    """Intersections ``[U, C]``, dense: image by image, so that nothing but the maps of one is held."""
    intersection = torch.zeros(acts.shape[1], masks.shape[1])
    for maps, mask in zip(acts, masks, strict=True):
        carried = mask.flatten(1).any(1)
        upsampled = F.interpolate(maps[None], MASK_SIZE, mode="bilinear")[0]
        on = (upsampled > threshold[:, None, None]).flatten(1).float()
        intersection[:, carried] += on @ mask[carried].flatten(1).float().T
    return intersection


def seconds(function: Callable[..., object], *arguments: object) -> float:
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'workload':<20}{'ours, maps/s':>16}{'plain, maps/s':>16}{'ratio':>8}")
    for workload in WORKLOADS:
        acts, masks, packed, threshold = prepared(workload, workload.images)
        ours, plain = [], []
        for _ in range(ROUNDS):
            ours.append(min(seconds(count, acts, packed, threshold) for _ in range(5)))
            plain.append(seconds(plain_torch, acts, masks, threshold))
        maps = workload.images * workload.units
        ratio = statistics.median(p / o for p, o in zip(plain, ours, strict=True))
        fastest, other = statistics.median(ours), statistics.median(plain)
        print(f"{workload.name:<20}{maps / fastest:>16,.0f}{maps / other:>16,.0f}{ratio:>8.0f}")


if __name__ == "__main__":
    main()
