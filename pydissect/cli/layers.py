"""``pydissect layers``."""

from pathlib import Path

import click

from ..broden import Broden
from ..layers import list_layers
from .console import Command, out
from .model_options import model_options, open_model
from .tables import layers_table


@click.command(cls=Command, epilog="Example: pydissect layers --model torchvision.models:resnet18")
@model_options()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Dataset in Broden's format, for the size of its pictures.",
)
@click.option(
    "--input-size",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Height and width of the input.  [default: 224]",
)
def layers_command(
    model: str, weights: Path | None, unsafe_weights: bool, data: Path | None, input_size: int | None
) -> None:
    """List every layer of a network that can be dissected, with the shape of its output."""
    network = open_model(model, weights, unsafe_weights)
    size: int | tuple[int, int] = 224
    if input_size is not None:
        size = input_size
    elif data is not None:
        size = Broden(data).image_size
    out().print(layers_table(list_layers(network, size)))
