"""Normalization: from the bytes of a picture to the numbers that a network was trained on."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydissect.errors import InputError

if TYPE_CHECKING:
    import torch

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalization:
    """What is done to the pixels before a model sees them; made by `Normalization.parse`.

    Attributes:
        spec: the text that it was parsed from.
        mean: what is subtracted from each channel, in the order that the model sees.
        std: what each channel is divided by afterwards.
        unit_scale: pixels are brought from 0..255 to [0, 1] first.
        bgr: the channels are reversed first.
    """

    spec: str
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    unit_scale: bool = True
    bgr: bool = False

    @classmethod
    def parse(cls, spec: str) -> "Normalization":
        """Parse the value of `--normalize`.

        Args:
            spec: `none` (RGB in [0, 1]), `imagenet` (the usual mean and deviation, on [0, 1]), `caffe` (BGR
                in 0..255 less 104, 117, 123), or `M,M,M/S,S,S` (RGB means and deviations, on [0, 1]).

        Raises:
            InputError: for any other text, a number that is not finite, or a deviation that is not positive.
        """
        if spec in _NAMED:
            return _NAMED[spec]
        means, slash, stds = spec.partition("/")
        if not slash:
            raise InputError(f"normalize: expected none, imagenet, caffe or M,M,M/S,S,S, found {spec!r}")
        mean = _three_numbers(spec, "means", means)
        std = _three_numbers(spec, "deviations", stds)
        if min(std) <= 0:
            raise InputError(f"normalize: expected deviations above 0, found {stds!r} in {spec!r}")
        return cls(spec, mean, std)

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        """Normalize a batch of pictures.

        Args:
            images: `[B, 3, H, W]` uint8, RGB, any device, any memory format.

        Returns:
            `[B, 3, H, W]` float32, new memory on the same device, in the same memory format.

        Raises:
            InputError: when `images` has another dtype or shape.
        """
        # A text can be parsed without it.
        import torch

        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3:
            raise InputError(
                f"images: expected uint8 [B, 3, H, W], found {str(images.dtype).removeprefix('torch.')}"
                f" {list(images.shape)}"
            )
        pixels = (images.flip(1) if self.bgr else images).to(torch.float32, copy=True)
        if self.unit_scale:
            pixels.div_(255)
        if any(self.mean):
            pixels.sub_(pixels.new_tensor(self.mean).view(3, 1, 1))
        if self.std != (1.0, 1.0, 1.0):
            pixels.div_(pixels.new_tensor(self.std).view(3, 1, 1))
        return pixels

    def __str__(self) -> str:
        """One line for the summary, such as `none: RGB in [0, 1]`."""
        text = f"{'BGR' if self.bgr else 'RGB'} in {'[0, 1]' if self.unit_scale else '0..255'}"
        if any(self.mean):
            text += f", less {_join(self.mean)}"
        if self.std != (1.0, 1.0, 1.0):
            text += f", over {_join(self.std)}"
        return f"{self.spec}: {text}" if self.spec in _NAMED else text


_NAMED = {
    normalization.spec: normalization
    for normalization in (
        Normalization("none"),
        Normalization("imagenet", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Normalization("caffe", mean=(104.0, 117.0, 123.0), unit_scale=False, bgr=True),
    )
}


def _three_numbers(spec: str, what: str, text: str) -> Triple:
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"normalize: expected three {what} M,M,M, found {text!r} in {spec!r}") from None
    if not all(math.isfinite(number) for number in (first, second, third)):
        raise InputError(f"normalize: expected finite {what}, found {text!r} in {spec!r}")
    return first, second, third


def _join(numbers: Triple) -> str:
    return "/".join(f"{number:g}" for number in numbers)
