"""Train the demonstration network from scratch on drawn pictures and write its weights.

    python scripts/train_demo.py

The pictures come from another seed than those that the documentation dissects, so the network has seen none
of them. It learns to tell, for every 16 x 16 pixels, which labels are there, from all categories at once;
nothing ties a unit to a label.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from pydissect.broden import Broden
from pydissect.demo.network import LAYERS, DemoNetwork
from pydissect.files import atomic_write
from pydissect.normalize import Normalization
from pydissect.synth import NUMBERS, make_dataset

WEIGHTS = Path(__file__).parents[1] / "pydissect" / "demo" / "weights.safetensors"
CELL = 8  # mask pixels on a side of a cell of the last layer
RARITY = 0.75  # 0: every label counts by its area, 1: all labels count the same
SPARSITY = 3e-4


@dataclass(frozen=True)
class Lessons:
    """Pictures and what is in them.

    Attributes:
        images: uint8 `[N, 3, H, W]`.
        shares: uint8 `[N, C, h, w]`, how many mask pixels of each cell carry a label.
        annotated: bool `[N, C]`, whether a picture is annotated for a category of the label.
    """

    images: Tensor
    shares: Tensor
    annotated: Tensor


class Normalized(DemoNetwork):
    """The network with batch normalization before every ReLU, which is folded away after training."""

    def __init__(self) -> None:
        super().__init__()
        for number, (_, channels, _, _) in enumerate(LAYERS, start=1):
            block = self.get_submodule(f"layer{number}")
            block[0].bias = None
            block.insert(1, nn.BatchNorm2d(channels))

    def folded(self) -> dict[str, Tensor]:
        """Give the state of the plain network that computes the same, in half precision."""
        state = {"readout.weight": self.readout.weight, "readout.bias": self.readout.bias}
        for number in range(1, len(LAYERS) + 1):
            convolution, norm, _ = self.get_submodule(f"layer{number}").children()
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            state[f"layer{number}.0.weight"] = convolution.weight * scale[:, None, None, None]
            state[f"layer{number}.0.bias"] = norm.bias - norm.running_mean * scale
        return {name: tensor.detach().half().contiguous() for name, tensor in sorted(state.items())}


def read(folder: Path) -> Lessons:
    """Decode a dataset into memory."""
    data = Broden(folder)
    numbers = sorted(set(NUMBERS.values()))
    column = torch.zeros(max(numbers) + 1, dtype=torch.long)
    column[numbers] = torch.arange(1, len(numbers) + 1)
    categories = torch.tensor([[name in c.categories for name in data.categories] for c in data.concepts])
    side = data.mask_size[0] // CELL
    images = torch.empty(len(data), 3, *data.image_size, dtype=torch.uint8)
    shares = torch.zeros(len(data), len(numbers) + 1, side, side, dtype=torch.uint8)
    annotated = torch.zeros(len(data), len(numbers) + 1, dtype=torch.bool)
    concept_columns = column[[concept.number for concept in data.concepts]]
    for i in range(len(data)):
        images[i] = torch.from_numpy(data.read_image(i)).permute(2, 0, 1)
        maps, whole = data.read_labels(i)
        for labels in maps:
            cells = column[torch.from_numpy(labels.astype("int64"))].unflatten(0, (side, CELL))
            cells = cells.unflatten(2, (side, CELL)).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
            counts = torch.zeros(side * side, len(numbers) + 1, dtype=torch.uint8)
            counts.scatter_add_(1, cells, torch.ones_like(cells, dtype=torch.uint8))
            shares[i] = torch.maximum(shares[i], counts.T.reshape(-1, side, side))
        shares[i, column[list(whole)]] = CELL * CELL
        present = shares[i, concept_columns].amax((1, 2)) > 0
        annotated[i, concept_columns] = (categories & categories[present].any(0)).any(1)
    return Lessons(images, shares[:, 1:], annotated[:, 1:])


def train(lessons: Lessons, steps: int, batch: int, seed: int) -> Normalized:
    """Fit the network to the shares of the labels in every cell."""
    torch.manual_seed(seed)
    network = Normalized().to(memory_format=torch.channels_last)
    frequency = (lessons.shares.float().mean((0, 2, 3)) / (CELL * CELL)).clamp(min=1e-4)
    # Rare labels would be drowned by the sky; the scale makes the loss 1 for who knows frequencies only.
    weight = frequency**-RARITY
    weight /= (weight * torch.distributions.Bernoulli(frequency).entropy()).mean()
    with torch.no_grad():
        network.readout.bias.copy_(frequency.logit())
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    normalize = Normalization.parse("imagenet")
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, steps + 1):
        if len(order) < batch:
            order = torch.randperm(len(lessons.images))
        picked, order = order[:batch], order[batch:]
        images, shares = lessons.images[picked], lessons.shares[picked].float() / (CELL * CELL)
        if step % 2:
            images, shares = images.flip(3), shares.flip(3)
        images = normalize(images).to(memory_format=torch.channels_last)
        loss = functional.binary_cross_entropy_with_logits(network(images), shares, reduction="none")
        known = lessons.annotated[picked][:, :, None, None]
        loss = (loss * weight[:, None, None] * known).sum() / (known.sum() * shares[0, 0].numel())
        # Few units a label: a label is told by units that mean something by themselves.
        penalty = SPARSITY * network.readout.weight.abs().sum()
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step:5d} of {steps}  loss {loss.item():.4f}", flush=True)
    return network.eval()


def main() -> None:
    """Make the pictures, train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1200, help="pictures to draw (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of pictures and weights (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write (default: the package's)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(Path(folder) / "data", options.images, options.seed)
        lessons = read(Path(folder) / "data")
    network = train(lessons, options.steps, options.batch, options.seed)
    with atomic_write(options.out) as file:
        file.write(save(network.folded()))
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
