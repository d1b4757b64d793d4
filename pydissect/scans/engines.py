"""What runs the tasks of a scan: what it is told, what it tells, and which there are."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from ..errors import InputError
from .checkpoints import Tag
from .keys import Signature
from .settings import Settings

ENGINES = ("local", "ray")
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Task:
    """What a worker is told. All paths are absolute and mean the same on every node.

    Attributes:
        key: of the result.
        weights: path of the checkpoint.
        signature: of that file when it was hashed; None if there was none.
        sha256: of its content then.
        model: spec of the factory.
        layers: dotted names of the modules.
        tags: of the checkpoint.
        data: folder of the dataset.
        split: of the dataset.
        dataset_sha256: of the dataset.
        settings: how to dissect.
        out: the scan's folder.
        shards: numbers of each shard's images; none if it is dissected in one piece.
        shard: the one to run; without it, what all have left is counted.
    """

    key: str
    weights: str
    signature: Signature | None
    sha256: str | None
    model: str
    layers: tuple[str, ...]
    tags: Mapping[str, Tag]
    data: str
    split: str
    dataset_sha256: str
    settings: Settings
    out: str
    shards: tuple[range, ...] = ()
    shard: int | None = None

    @property
    def name(self) -> tuple[str, int | None]:
        """What tells it from the other tasks of a scan."""
        return self.key, self.shard

    @property
    def step(self) -> str:
        """Which of the tasks of its checkpoint it is, for errors; empty if it is the only one."""
        if not self.shards:
            return ""
        if self.shard is None:
            return f"merging {len(self.shards)} shards: "
        images = self.shards[self.shard]
        return f"shard {self.shard + 1} of {len(self.shards)} (images {images.start} to {images.stop - 1}): "

    def placed(self, device: str, threads: int) -> "Task":
        """The same on a worker's device, by so many threads."""
        return replace(self, settings=replace(self.settings, device=device, threads=threads))


class Outcome(NamedTuple):
    """How a task ended: without an error, its result is in the scan's folder.

    Attributes:
        error: in one line, empty if there was none.
        detail: the traceback of one that says nothing about the input.
    """

    error: str = ""
    detail: str = ""


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
) -> Callable[[], Engine]:
    """What starts an engine, once the settings are found to be usable here.

    Neither torch nor workers are there before: a scan that is finished does without.

    Args:
        name: of :data:`ENGINES`.
        settings: of the scan.
        processes: of the local engine; without it, one a GPU if the device is ``cuda``, one for another device of its
            own, or on processors one a core up to 8.
        threads: of each task; without it, an equal share of the cores, or 1 on Ray.
        address: of a Ray cluster; without it, one is started on this machine.

    Raises:
        InputError: an argument is wrong for the engine, or the package of an extra is missing.
    """
    if name not in ENGINES:
        raise InputError(f"engine: expected {' or '.join(ENGINES)}, found {name!r}")
    for what, number in (("processes", processes), ("threads", threads)):
        if number is not None and number < 1:
            raise InputError(f"{what}: expected 1 or more, found {number}")
    if name == "ray":
        if processes is not None:
            raise InputError("processes: the ray engine runs as many tasks at once as the cluster has cores for")
        from .ray_engine import load_ray

        ray = load_ray()

        def start_ray() -> Engine:
            from .ray_engine import RayEngine

            settings.check()
            return RayEngine(ray, address, settings.device, threads or 1)

        return start_ray
    if address is not None:
        raise InputError("address: only the ray engine has one")

    def start_local() -> Engine:
        from .local import LocalEngine

        settings.check()
        devices = settings.devices()
        cores = len(os.sched_getaffinity(0))
        count = processes or (min(cores, _MOST_PROCESSES) if settings.device == "cpu" else len(devices))
        workers = [devices[index % len(devices)] for index in range(count)]
        return LocalEngine(workers, threads or max(1, cores // count))

    return start_local
