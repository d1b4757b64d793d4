"""Processes on this machine: each an executor with a single worker, so that a death has one culprit and one victim."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.process import BaseProcess

from .engines import Outcome, Task
from .task import run_task


class LocalEngine:
    """An engine of processes.

    Args:
        devices: of each process.
        threads: of each process.
    """

    def __init__(self, devices: list[str], threads: int) -> None:
        self._workers = [_Worker(device, threads) for device in devices]

    def room(self) -> int:
        """How many tasks more it wants at the moment."""
        return sum(worker.running is None for worker in self._workers)

    def submit(self, task: Task) -> None:
        """Gives it a task; only where there is room."""
        next(worker for worker in self._workers if worker.running is None).submit(task)

    def wait(self, timeout: float) -> list[tuple[Task, Outcome]]:
        """The tasks that have ended since the last call; waits for one up to ``timeout`` seconds."""
        wait([worker.running[1] for worker in self._workers if worker.running], timeout, FIRST_COMPLETED)
        return [worker.take() for worker in self._workers if worker.running and worker.running[1].done()]

    def close(self) -> None:
        """Ends its workers, whatever they do."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process, which is started anew when it has died."""

    def __init__(self, device: str, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._executor: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self.running: tuple[Task, Future[Outcome]] | None = None

    def submit(self, task: Task) -> None:
        placed = task.placed(self._device, self._threads)
        try:
            future = self._start().submit(run_task, placed)
        except BrokenProcessPool:  # it died while it had nothing to do
            self.close()
            future = self._start().submit(run_task, placed)
        self.running = task, future

    def take(self) -> tuple[Task, Outcome]:
        assert self.running is not None
        task, future = self.running
        self.running = None
        try:
            return task, future.result()
        except BrokenProcessPool:
            outcome = Outcome(self._why_it_died())
            self.close()
            return task, outcome

    def close(self) -> None:
        if self._process is not None and self.running is not None:
            self._process.kill()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = self._process = self.running = None

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            before = set(multiprocessing.active_children())
            # A process of its own: a copy of this one might hold a lock of another thread, or a GPU.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(1, mp_context=context, initializer=begin_worker)
            self._executor.submit(os.getpid)
            self._process = next(iter(set(multiprocessing.active_children()) - before), None)
        return self._executor

    def _why_it_died(self) -> str:
        code = None
        if self._process is not None:
            self._process.join()
            code = self._process.exitcode
        if code is None:
            return "its process ended"
        if code >= 0:
            return f"its process ended with exit status {code}"
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"its process died of {name}{', perhaps out of memory' if name == 'SIGKILL' else ''}"
        return f"its process died of signal {-code}"


def begin_worker() -> None:
    """Called in a new worker: the driver is the one to interrupt, and to live with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def die_with_parent() -> None:
        wait_for_any([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die_with_parent, daemon=True).start()
