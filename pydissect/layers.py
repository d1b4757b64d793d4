"""Layers by name, and what a layer returns as activation maps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import isqrt

import torch
from torch import nn

from pydissect.acts import DTYPES
from pydissect.errors import InputError
from pydissect.messages import nearest_names, one_line

MapShape = tuple[int, int, int]
"""`(U, h, w)`: the shape of one image's activation maps."""


@dataclass(frozen=True)
class LayerInfo:
    """One module of a model, as a forward pass found it.

    Attributes:
        name: dotted name, as `--layer` takes it.
        type: name of the module's class.
        calls: how often it runs in one forward pass.
        shape: `(U, h, w)` of its activation maps, from its last call; None when it cannot be dissected.
        problem: why it cannot be dissected; empty when it can.
    """

    name: str
    type: str
    calls: int = 0
    shape: MapShape | None = None
    problem: str = "never runs in a forward pass"


def find_layers(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """The modules of `model` with the given dotted names, in the order given.

    Raises:
        InputError: when `names` is empty, holds a name twice, or one that the model has not (the nearest
            names are offered).
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    del modules[""]
    if not names:
        raise InputError("layers: expected at least one name of a layer, found none")
    found: dict[str, nn.Module] = {}
    for name in names:
        if name in found:
            raise InputError(f"layer {name!r}: expected each layer once, found it twice")
        if name not in modules:
            raise InputError(
                f"layer {name!r}: the model has no module of that name{nearest_names(name, modules)}"
                " (`pydissect layers` lists them all)"
            )
        found[name] = modules[name]
    return found


def list_layers(model: nn.Module, image_size: int | tuple[int, int]) -> list[LayerInfo]:
    """Every module of `model` but itself, and whether it can be dissected, from one full forward pass.

    Args:
        model: the model, on any device; in eval mode during the pass, and afterwards as it was.
        image_size: H and W of the images, in pixels (one number: square).

    Returns:
        One entry a module, in the order of `model.named_modules()`.

    Raises:
        InputError: when the model fails on images of that size.
    """
    images = example_images(model, image_size)
    layers = {name: LayerInfo(name, type(module).__name__) for name, module in model.named_modules() if name}

    def record(name: str, module: nn.Module, args: object, output: object) -> None:
        info = layers[name]
        shape, problem = None, ""
        try:
            _, units, h, w = activation_maps(output, images.shape).shape
            shape = (units, h, w)
        except InputError as error:
            problem = str(error)
        layers[name] = LayerInfo(name, info.type, info.calls + 1, shape, problem)

    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.inference_mode())
        for name, module in model.named_modules():
            if name:
                stack.enter_context(module.register_forward_hook(partial(record, name)))
        try:
            model(images)
        except Exception as error:
            raise model_failed(images.shape, error) from error
    return list(layers.values())


def activation_maps(output: object, images: Sequence[int]) -> torch.Tensor:
    """What a layer returned, as activation maps: always a view, never a copy.

    Args:
        output: a tensor, or a tuple, list or mapping (such as the outputs of transformers) whose first tensor
            counts. `[B, U, h, w]` is taken as it is, `[B, U]` as maps of 1 x 1. Token models return
            `[B, T, D]`: the D features are the units; the T tokens are square patches of the image, row by
            row, with or without a class token before them (which is dropped). `[B, h, w, U]`, which blocks of
            Swin and ConvNeXt return, is told by its sizes: maps have the aspect of the image.
        images: shape `[B, 3, H, W]` of the images that the model was given.

    Returns:
        `[B, U, h, w]`, fp32, fp16 or bf16.

    Raises:
        InputError: for anything else; says what was expected and found, but not of which layer.
    """
    tensor = first_tensor(output)
    if tensor is None:
        raise InputError(f"expected a tensor, found {_describe(output)}")
    if tensor.dtype not in DTYPES:
        advice = "; convert the model with .float()" if tensor.dtype == torch.float64 else ""
        found = str(tensor.dtype).removeprefix("torch.")
        raise InputError(f"expected float32, float16 or bfloat16 activations, found {found}{advice}")
    shape = list(tensor.shape)
    batch, _, height, width = images
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise InputError(f"expected a tensor [B, U, h, w], [B, T, D] or [B, U], found {shape}")
    if shape[0] != batch:
        raise InputError(f"expected the {batch} images of the batch as the first dimension, found {shape}")
    if len(shape) == 2:
        return tensor[:, :, None, None]
    if len(shape) == 4:
        # Of the two readings, maps have the aspect of the image.
        features_last = shape[1] * width == shape[2] * height and shape[2] * width != shape[3] * height
        return tensor.permute(0, 3, 1, 2) if features_last else tensor
    for class_tokens in (0, 1):
        if grid := _patch_grid(shape[1] - class_tokens, height, width):
            return tensor[:, class_tokens:].transpose(1, 2).view(batch, shape[2], *grid)
    raise InputError(
        f"expected a grid of patches of the {height} x {width} image, with or without one class token,"
        f" found {shape[1]} tokens ({shape})"
    )


def first_tensor(output: object) -> torch.Tensor | None:
    """The tensor that a layer returned, or the first one in the tuple, list or mapping that it returned."""
    if isinstance(output, Mapping):
        output = list(output.values())
    members = output if isinstance(output, tuple | list) else [output]
    return next((member for member in members if isinstance(member, torch.Tensor)), None)


def example_images(model: nn.Module, image_size: int | tuple[int, int]) -> torch.Tensor:
    """Two images of fixed noise, `[2, 3, H, W]`, on the model's device and in its dtype.

    Two, since a layer that returns one thing for the whole batch cannot be told apart on one image.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    noise = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    return as_model_input(model, noise)


def as_model_input(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Floating-point images on the device and in the dtype of the model's first floating-point parameter."""
    first = next((weights for weights in model.parameters() if weights.is_floating_point()), None)
    if first is None or not images.is_floating_point():
        return images
    return images.to(first.device, first.dtype)


def model_failed(images: Sequence[int], error: Exception) -> InputError:
    """The error for a model that cannot run on images of shape `[B, 3, H, W]`."""
    return InputError(f"the model failed on images of {images[2]} x {images[3]}: {one_line(error)}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _patch_grid(tokens: int, height: int, width: int) -> tuple[int, int] | None:
    """The grid `(h, w)` of square patches of an image that has exactly that many tokens."""
    h, w = isqrt(tokens * height // width), isqrt(tokens * width // height)
    return (h, w) if h > 0 and h * w == tokens and h * width == w * height else None


def _describe(output: object) -> str:
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return f"{type(output).__name__} of {', '.join(type(member).__name__ for member in output) or 'nothing'}"
    return type(output).__name__
