"""A small network for trying things out, with weights that were trained on the pictures of `pydissect.synth`."""

from importlib import resources

import torch
from safetensors.torch import load
from torch import nn

from .network import DemoNetwork

__all__ = ["DemoNetwork", "trained", "untrained"]

_SEED = 0


def trained() -> nn.Module:
    """Make the network with the weights that come with the package.

    Returns:
        The network on the CPU, in evaluation mode; it expects `--normalize imagenet`.
    """
    content = resources.files(__name__).joinpath("weights.safetensors").read_bytes()
    network = DemoNetwork()
    network.load_state_dict({name: tensor.float() for name, tensor in load(content).items()})
    return network.eval()


def untrained() -> nn.Module:
    """Make the network with random weights, always the same: what a dissection finds by chance.

    Returns:
        The network on the CPU, in evaluation mode. The state of torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return DemoNetwork().eval()
