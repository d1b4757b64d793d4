"""``pydissect backends``."""

import click
import torch

from ..backends import backend_names, choose_backend, load_backend
from ..devices import describe_device
from ..errors import InputError
from .console import Command, out
from .tables import BackendRow, backends_table


def _devices() -> dict[torch.device, str]:
    """The devices of this machine that can hold activations, each with its description."""
    found = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    devices = {device: describe_device(device) for device in (torch.device("cpu"), *found)}
    if not found:
        devices[torch.device("cuda")] = "cuda (none here)"
    return devices


@click.command(cls=Command, epilog="Example: pydissect backends --debug")
def backends_command() -> None:
    """Show which backends can be had on this machine, and why the others cannot.

    The one that --backend auto takes for a device is marked so; PYDISSECT_BACKEND in the environment decides for it.
    """
    rows = []
    for device, description in _devices().items():
        try:
            chosen = choose_backend("auto", device).name
        except InputError:
            chosen = ""
        for name in backend_names():
            backend = load_backend(name)
            reason = backend.unavailable(device)
            rows.append(
                BackendRow(
                    device=description,
                    backend=name,
                    available=reason is None,
                    auto=reason is None and name == chosen,
                    note=backend.details() if reason is None else reason,
                )
            )
    out().print(backends_table(rows))
