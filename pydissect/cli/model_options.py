"""The options that name a model, shared by the commands that take one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import nn


def model_options(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds ``--model``, ``--weights`` and ``--unsafe-weights`` to a command.

    Args:
        required: whether the command needs a model.
    """
    options = (
        click.option(
            "--model",
            required=required,
            metavar="SPEC",
            help="FILE.py:FACTORY or package.module:factory: a function without arguments (or a class) that makes the "
            "network, such as torchvision.models:alexnet.",
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Weights to load: safetensors, or a torch.save file of a state dict. Without it, those that the "
            "factory gives.",
        ),
        click.option(
            "--unsafe-weights",
            is_flag=True,
            help="Unpickle whatever --weights holds; runs code that it brings along.",
        ),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def open_model(model: str, weights: Path | None, unsafe_weights: bool) -> "nn.Module":
    """The model that the options name, with its weights."""
    from ..models import build_model, load_weights

    network = build_model(model)
    if weights is not None:
        load_weights(network, weights, unsafe=unsafe_weights)
    return network
