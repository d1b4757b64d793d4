"""Which memory format a model runs faster in."""

from torch import nn


def channels_last_pays(model: nn.Module) -> bool:
    """Whether to run `model` in `torch.channels_last`: yes for every model with a 2-D convolution.

    A rule rather than a measurement, so that results repeat to the bit. Measured on an AVX-512 CPU with 2
    threads (fp32 and bf16, models in eval mode), channels-last is 1.2 to 2.3 times as fast for AlexNet, VGG,
    ResNet, SqueezeNet and MobileNet, and makes no difference to ViT, Swin and ConvNeXt, which spend their
    time in matrix products.
    """
    return any(isinstance(module, nn.Conv2d) for module in model.modules())
