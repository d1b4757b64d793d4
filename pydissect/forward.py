"""The model's part of a dissection: images in, the activations of some layers out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from .capture import LayerCapture
from .memory_format import channels_last_pays

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Forward:
    """A model on a device, run as far as the last of some layers; see :func:`forward`.

    Attributes:
        memory_format: of the images and the model.
        shapes: ``(U, h, w)`` of each layer.
    """

    def __init__(
        self, capture: LayerCapture, device: torch.device, memory_format: torch.memory_format, dtype: torch.dtype
    ) -> None:
        self.memory_format = memory_format
        self.shapes: Mapping[str, tuple[int, int, int]] = capture.shapes
        self._capture = capture
        self._device = device
        self._dtype = dtype

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The activations ``[B, U, h, w]`` of each layer, of images ``[B, 3, H, W]``.

        Raises:
            InputError: see :class:`LayerCapture`.
        """
        with _precision(self._device, self._dtype):
            return self._capture(_placed(images, self._device, self.memory_format))


@contextmanager
def forward(
    model: nn.Module, names: Sequence[str], example: Tensor, device: torch.device, dtype: str
) -> Iterator[Forward]:
    """A model that is ready to run: on a device, in eval mode, and in channels-last where that pays.

    Args:
        model: the network.
        names: of the layers.
        example: an image ``[1, 3, H, W]`` to try the model on.
        device: of the model and the activations.
        dtype: of :data:`DTYPES`; in other than fp32 the model runs in mixed precision.

    Raises:
        InputError: see :class:`LayerCapture`.
    """
    memory_format = torch.channels_last if channels_last_pays(model) else torch.contiguous_format
    model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    with ExitStack() as stack:
        with _precision(device, DTYPES[dtype]):
            capture = stack.enter_context(LayerCapture(model, names, _placed(example, device, memory_format)))
        yield Forward(capture, device, memory_format, DTYPES[dtype])


def _precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """That in which the model runs. It alone: nothing of what is counted may be rounded."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def _placed(images: Tensor, device: torch.device, memory_format: torch.memory_format) -> Tensor:
    return images.to(device, non_blocking=True).contiguous(memory_format=memory_format)
