"""The demonstration network: six convolutions and a linear readout in every cell."""

from torch import Tensor, nn

from ..synth import NUMBERS

# Input channels, output channels, kernel size, stride.
LAYERS = (
    (3, 24, 5, 2),
    (24, 48, 3, 2),
    (48, 64, 3, 2),
    (64, 96, 3, 1),
    (96, 128, 3, 2),
    (128, 128, 3, 1),
)

OUTPUTS = len(set(NUMBERS.values()))
"""The readout's labels: those of the synthetic dataset, by rising number."""


class DemoNetwork(nn.Module):
    """Tells for every 16 x 16 pixels of a picture which labels are there.

    `layer1` to `layer6` are convolutions with their ReLU; `layer6` has 128 units on a 14 x 14 grid for a
    picture of 224 x 224. The readout is linear, so what the network knows is in the units of `layer6`.
    """

    def __init__(self) -> None:
        super().__init__()
        for number, shape in enumerate(LAYERS, start=1):
            self.add_module(f"layer{number}", convolution(*shape))
        self.readout = nn.Conv2d(LAYERS[-1][1], OUTPUTS, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits `[N, OUTPUTS, h, w]` for normalised images `[N, 3, H, W]`."""
        for block in self.children():
            images = block(images)
        return images


def convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Make one layer: a convolution that keeps the borders, and its ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU())
