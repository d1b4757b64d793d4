"""Running the command line in tests: a small model file, a dataset, and what the command said."""

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from pydissect.cli import main

PROGRESS = (
    "packing masks",
    "running the model",
    "finding thresholds",
    "counting",
    "checking",
    "drawing",
    "running network",
    "scanning",
)

# Nothing here rounds differently in another batch: pooling of four, and products and sums pixel by pixel.
MODELS = '''
import time
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Mix(nn.Module):
    def __init__(self):
        super().__init__()
        weight = torch.tensor([[1.0, -1.0, 0.5], [-0.25, 1.0, 0.5], [0.0, 0.0, 1.0], [-1.0, 1.0, -1.0]])
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        w = self.weight[:, :, None, None]
        return x[:, 0:1] * w[:, 0] + x[:, 1:2] * w[:, 1] + x[:, 2:3] * w[:, 2]


def sequential(**layers):
    return nn.Sequential(OrderedDict(layers))


def net():
    return sequential(
        pool=nn.AvgPool2d(2), mix=Mix(), relu=nn.ReLU(inplace=True), coarse=nn.AvgPool2d(2), unused_head=nn.Flatten()
    )


def with_spare():
    model = net()
    model.mix.spare = nn.Identity()
    return model


def list_layer():
    return sequential(mix=Mix(), lists=Function(lambda x: [str(x.shape)]), end=Function(lambda x: x))


def other_shape():
    return sequential(shrinks=Function(lambda x: x[:, :, : 9 - len(x)]))


def nan():
    """NaN in unit 2 wherever a picture is white."""
    def spoil(x):
        white = (x == 1).all(1)
        x[:, 2] = torch.where(white, torch.nan, x[:, 2])
        return x
    return sequential(spoil=Function(spoil))


def infinite():
    return sequential(spoil=Function(lambda x: x / (x.amin((1, 2, 3), keepdim=True) != 1)))


def slow():
    """Says that it is running, in a file beside this one, and takes its time."""
    def wait(x):
        with (Path(__file__).parent / "running").open("a") as file:
            file.write("x")
        time.sleep(0.5)
        return x
    return sequential(wait=Function(wait))


def no_module():
    return "a network"


def fails():
    raise RuntimeError("weights are gone")
'''


def write_models(folder: Path) -> Path:
    path = folder / "models.py"
    path.write_text(MODELS)
    return path


def run(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="pydissect")


def said(stderr: str) -> list[str]:
    """The lines of the standard error stream, those of progress bars aside."""
    return [line for line in stderr.splitlines() if line.strip() and not line.startswith(PROGRESS)]


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pydissect", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its contents, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }
