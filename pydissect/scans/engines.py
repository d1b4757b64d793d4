"""What runs the tasks of a scan."""

import os
from collections.abc import Callable
from typing import Protocol

import torch

from ..errors import InputError
from .settings import Settings
from .task import Outcome, Task

ENGINES = ("local", "ray")
_MOST_PROCESSES = 8


class Engine(Protocol):
    """Workers that run tasks; one that dies takes its own task with it and no other."""

    def room(self) -> int:
        """How many tasks more it wants at the moment."""

    def submit(self, task: Task) -> None:
        """Gives it a task; only where there is room."""

    def wait(self, timeout: float) -> list[tuple[Task, Outcome]]:
        """The tasks that have ended since the last call; waits for one up to ``timeout`` seconds."""

    def close(self) -> None:
        """Ends its workers, whatever they do."""


def plan_engine(
    name: str, settings: Settings, *, processes: int | None, threads: int | None, address: str | None
) -> tuple[Callable[[], Engine], int]:
    """How to start an engine, and the threads of each of its tasks.

    Args:
        name: of :data:`ENGINES`.
        settings: of the scan.
        processes: of the local engine; without it, one a GPU if the device is ``cuda``, one for another device of its
            own, or on processors one a core up to 8.
        threads: of each task; without it, an equal share of the cores.
        address: of a Ray cluster; without it, one is started on this machine.

    Raises:
        InputError: an argument is wrong for the engine, or the package of an extra is missing.
    """
    if name not in ENGINES:
        raise InputError(f"engine: expected {' or '.join(ENGINES)}, found {name!r}")
    for what, number in (("processes", processes), ("threads", threads)):
        if number is not None and number < 1:
            raise InputError(f"{what}: expected 1 or more, found {number}")
    cores = len(os.sched_getaffinity(0))
    if name == "ray":
        if processes is not None:
            raise InputError("processes: the ray engine runs as many tasks at once as the cluster has cores for")
        from .ray_engine import RayEngine, load_ray

        ray = load_ray()
        count = threads or 1
        return lambda: RayEngine(ray, address, count, settings.device.startswith("cuda")), count
    if address is not None:
        raise InputError("address: only the ray engine has one")
    from .local import LocalEngine

    devices = [settings.device]
    if settings.device == "cuda":
        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if processes is None:
        processes = min(cores, _MOST_PROCESSES) if settings.device == "cpu" else len(devices)
    workers = [devices[index % len(devices)] for index in range(processes)]
    return lambda: LocalEngine(workers), threads or max(1, cores // processes)
