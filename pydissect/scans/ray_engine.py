"""Tasks on a Ray cluster, or on one that is started on this machine for the scan."""

import os
from typing import Any

from ..extras import needs
from ..messages import one_line
from .engines import Outcome, Task

_AHEAD = 2  # tasks for each place in the cluster, so that none is idle


def load_ray() -> Any:
    """The module.

    Raises:
        InputError: it is not installed.
    """
    # Ray warns of what it will do to GPUs' visibility some day unless this is set; nothing here depends on it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return needs("ray", "ray")


class RayEngine:
    """An engine of a Ray cluster, which schedules.

    Args:
        ray: the module.
        address: of a cluster; None starts one here.
        device: of each task; if it is a GPU, each takes one of the cluster's.
        threads: cores of each task.
    """

    def __init__(self, ray: Any, address: str | None, device: str, threads: int) -> None:
        from .task import run_task

        self._ray = ray
        self._device = device
        self._threads = threads
        self._on_gpu = device.startswith("cuda")
        self._running: dict[Any, Task] = {}
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            local = {} if address else {"num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False}
            ray.init(address=address, log_to_driver=False, logging_level="warning", **local)
        # A worker that dies is the scan's to count, not Ray's to hide.
        self._run = ray.remote(num_cpus=threads, num_gpus=int(self._on_gpu), max_retries=0)(run_task)

    def room(self) -> int:
        """How many tasks more it wants at the moment."""
        resources = self._ray.cluster_resources()
        places = resources.get("GPU", 0) if self._on_gpu else resources.get("CPU", 0) // self._threads
        return _AHEAD * max(int(places), 1) - len(self._running)

    def submit(self, task: Task) -> None:
        """Gives it a task; only where there is room."""
        self._running[self._run.remote(task.placed(self._device, self._threads))] = task

    def wait(self, timeout: float) -> list[tuple[Task, Outcome]]:
        """The tasks that have ended since the last call; waits for one up to ``timeout`` seconds.

        Raises:
            RuntimeError: Ray itself has died on this machine.
        """
        ready, _ = self._ray.wait(list(self._running), timeout=timeout)
        return [(self._running.pop(reference), self._outcome(reference)) for reference in ready]

    def close(self) -> None:
        """Ends its workers, whatever they do."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._is_ours:
            self._ray.shutdown()

    def _outcome(self, reference: Any) -> Outcome:
        try:
            outcome: Outcome = self._ray.get(reference)
        except self._ray.exceptions.LocalRayletDiedError:
            # All that follows would fail as well, whatever the checkpoint.
            raise RuntimeError(
                "Ray on this machine has died (its logs are in /tmp/ray/session_latest/logs); run the command again: "
                "what is done stays done"
            ) from None
        except self._ray.exceptions.RayError as error:
            return Outcome(one_line(error))
        return outcome
