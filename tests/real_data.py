"""The real dataset and network beside the repository, and plain-torch code that reads and dissects them.

Nothing here imports pydissect: what this finds is found apart from it.
"""

import csv
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 64  # units that are upsampled at once, to stay in the cache


def squeezenet(folder: Path) -> nn.Module:
    """SqueezeNet 1.0 with its ImageNet weights, in eval mode."""
    spec = importlib.util.spec_from_file_location("real_squeezenet", folder / "nets" / "squeezenet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(folder / "nets" / "squeezenet1_0.safetensors")


class PlainCamvid:
    """``camvid_broden`` read with csv and PIL."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "images"
        with (folder / "index.csv").open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        with (folder / "label.csv").open(newline="") as file:
            labels = sorted(csv.DictReader(file), key=lambda row: int(row["number"]))
        self.names = [row["name"] for row in labels]
        self.numbers = [int(row["number"]) for row in labels]
        # Every label of this dataset is in one category.
        self.categories = [row["category"].partition("(")[0] for row in labels]

    def photos(self, first: int, last: int) -> Tensor:
        """``[B, 3, 224, 224]`` RGB in [0, 1]."""
        photos = [np.asarray(Image.open(self.images / row["image"])) for row in self.rows[first:last]]
        return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255

    def masks(self, i: int) -> Tensor:
        """``[C, 112, 112]`` bool."""
        result = torch.zeros(len(self.numbers), 112, 112, dtype=torch.bool)
        for column in dict.fromkeys(self.categories):
            cell = self.rows[i][column]
            for part in filter(None, cell.split(";")):
                if part.isdigit():
                    result[self.numbers.index(int(part))] = True
                    continue
                pixels = np.asarray(Image.open(self.images / part)).astype(np.int64)
                labels = pixels[:, :, 0] + 256 * pixels[:, :, 1]
                for number in set(np.unique(labels).tolist()) - {0}:
                    result[self.numbers.index(number)] |= torch.from_numpy(labels == number)
        return result


def activations(model: nn.Module, layers: list[str], batches: Iterator[Tensor]) -> dict[str, Tensor]:
    """``[N, U, h, w]`` of each layer, by plain hooks."""
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    handles = [
        model.get_submodule(layer).register_forward_hook(
            lambda module, args, output, layer=layer: found[layer].append(output.clone())
        )
        for layer in layers
    ]
    with torch.no_grad():
        for images in batches:
            model(images)
    for handle in handles:
        handle.remove()
    return {layer: torch.cat(outputs) for layer, outputs in found.items()}


def plain_threshold(acts: Tensor, above: int) -> Tensor:
    """``[U]``: the value that exactly ``above`` of a unit's activations exceed, if there are no ties."""
    values = acts.transpose(0, 1).reshape(acts.shape[1], -1)
    return values.kthvalue(values.shape[1] - above, dim=1).values


def with_all(masks: Tensor) -> Tensor:
    """``[C + 1, H * W]`` fp32: the masks of an image and one more of all its pixels, which counts areas."""
    pixels = masks.flatten(1).float()
    return torch.cat([pixels, torch.ones_like(pixels[:1])])


def plain_iou(acts: Tensor, masks: Tensor, categories: list[str], threshold: Tensor) -> Tensor:
    """IoU ``[U, C]`` as Bau et al. 2017, section 2, with torch's own interpolation."""
    images, units = acts.shape[:2]
    carried = masks.flatten(2).any(2)  # [N, C]
    names = list(dict.fromkeys(categories))
    of_concept = torch.tensor([names.index(category) for category in categories])
    annotated = torch.stack([carried[:, of_concept == k].any(1) for k in range(len(names))], 1)
    both = torch.zeros(units, masks.shape[1], dtype=torch.float64)
    area = torch.zeros(units, len(names), dtype=torch.float64)
    for n in range(images):
        concepts = with_all(masks[n])
        for first in range(0, units, CHUNK):
            part = slice(first, first + CHUNK)
            pixels = F.interpolate(acts[n : n + 1, part], masks.shape[2:], mode="bilinear")[0]
            on = (pixels > threshold[part, None, None]).flatten(1).float()
            sums = on @ concepts.T  # of one image: whole numbers that fp32 holds
            both[part] += sums[:, :-1]
            area[part] += sums[:, -1:] * annotated[n]
    union = area[:, of_concept] + masks.sum((0, 2, 3)) - both
    return torch.where(union > 0, both / union, 0.0)
