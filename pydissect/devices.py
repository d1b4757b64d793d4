"""Where models run and activations lie."""

import torch

from .errors import InputError
from .messages import one_line


def usable_device(device: str | torch.device) -> torch.device:
    """The device of a name, if torch can use it; that of ``cuda`` has the number of torch's current one.

    Raises:
        InputError: it is no device's name, or cannot be used; the message says why.
    """
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"device: expected one such as cpu, cuda or cuda:1, found {device!r}") from None
    try:
        # Whatever torch lacks for it, the driver or the device itself, shows in the smallest work there is.
        probe = torch.zeros(1, device=result)
        probe.item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: {str(result)!r} cannot be used: {one_line(error)}") from None
    return probe.device


def free_memory(device: torch.device) -> int:
    """Bytes of a CUDA device's memory that nothing takes yet; 0 for others."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def describe_device(device: torch.device) -> str:
    """A device's name; for a GPU also its model, compute capability and memory."""
    if device.type != "cuda":
        return str(device)
    properties = torch.cuda.get_device_properties(device)
    capability = f"compute capability {properties.major}.{properties.minor}"
    return f"{device} {properties.name}, {capability}, {properties.total_memory / 2**30:.0f} GB"
