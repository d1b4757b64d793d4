"""The least that a dissection could cost: run the network once, up to a layer, over images that are decoded already.

Plain torch, without pydissect; ``benchmarks/whole_command.py`` measures against it.
"""

import argparse
import contextlib
import importlib.util
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn


class LayerReachedError(Exception):
    """Ends the forward pass."""


def stop(module: nn.Module, args: object, output: object) -> None:
    raise LayerReachedError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True, help="safetensors file of uint8 images [N, H, W, 3]")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--batch-size", type=int, default=32)
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

    with safe_open(arguments.images, framework="pt") as file, torch.inference_mode():
        pictures = file.get_slice("images")
        for begin in range(0, pictures.get_shape()[0], arguments.batch_size):
            images = pictures[begin : begin + arguments.batch_size].permute(0, 3, 1, 2).float().div_(255)
            with contextlib.suppress(LayerReachedError):
                model(images)


if __name__ == "__main__":
    main()
