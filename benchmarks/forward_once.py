"""The least that a dissection could cost: decode the images and run the network once up to a layer.

Plain torch, without pydissect; ``benchmarks/whole_command.py`` measures against it.
"""

import argparse
import contextlib
import csv
import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset[Tensor]):
    """The dataset's pictures, uint8 ``[H, W, 3]``."""

    def __init__(self, folder: Path) -> None:
        with (folder / "index.csv").open(newline="") as file:
            self.paths = [folder / "images" / row["image"] for row in csv.DictReader(file)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.paths[i]) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB")))


class LayerReachedError(Exception):
    """Ends the forward pass."""


def stop(module: nn.Module, args: object, output: object) -> None:
    raise LayerReachedError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()

    path, _, factory = arguments.model.rpartition(":")
    spec = importlib.util.spec_from_file_location("network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = getattr(module, factory)()
    model.load_state_dict(load_file(arguments.weights))
    model = model.eval().to(memory_format=torch.channels_last)
    model.get_submodule(arguments.layer).register_forward_hook(stop)

    loader = DataLoader(Pictures(arguments.data), batch_size=arguments.batch_size, num_workers=arguments.workers)
    with torch.inference_mode():
        for batch in loader:
            images = batch.permute(0, 3, 1, 2).float().div_(255)
            with contextlib.suppress(LayerReachedError):
                model(images)


if __name__ == "__main__":
    main()
