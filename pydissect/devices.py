"""Where models run and activations lie."""

import torch

from .errors import InputError
from .messages import one_line


def usable_device(device: str | torch.device) -> torch.device:
    """The device of a name, if torch can use it.

    Raises:
        InputError: it is no device's name, or cannot be used; the message says why.
    """
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"device: expected one such as cpu, cuda or cuda:1, found {device!r}") from None
    try:
        # Whatever torch lacks for it, the driver or the device itself, shows in the smallest work there is.
        torch.zeros(1, device=result).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: {str(result)!r} cannot be used: {one_line(error)}") from None
    return result
