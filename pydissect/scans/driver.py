"""The driver of a scan: what is missing goes to an engine, what comes back is kept."""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..broden import Broden
from ..errors import InputError
from ..extras import needs
from ..progress import Progress, silent
from .checkpoints import Checkpoint
from .engines import Engine, Outcome, Task, plan_engine
from .folder import DriverProgress, Failure, ScanFolder
from .listing import Entry
from .plan import Plan, finder
from .settings import Settings
from .shards import Steps
from .watch import Watch

_PATIENCE = 1.0  # seconds to wait for a task before looking after the rest
_SAVE_EVERY = 10.0  # seconds


@dataclass(frozen=True)
class ScanReport:
    """How a scan ended.

    Attributes:
        checkpoints: that it was to dissect.
        made: results that it made.
        failures: of those that have no result, in the order of the checkpoints.
    """

    checkpoints: int
    made: int
    failures: tuple[Failure, ...]


def scan(
    data: str | os.PathLike[str] | Broden,
    *,
    out: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    manifest: str | os.PathLike[str] | None = None,
    model: str | None = None,
    layers: str | Sequence[str] = (),
    split: str = "all",
    counts: bool = False,
    engine: str = "local",
    address: str | None = None,
    processes: int | None = None,
    threads: int | None = None,
    retries: int = 1,
    shards: int = 1,
    watch: bool = False,
    poll: float = 10.0,
    idle_exit: float | None = None,
    unsafe_weights: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> ScanReport:
    """Dissects many checkpoints, in processes or on a Ray cluster; only those whose results are not in ``out`` yet.

    A checkpoint that fails or kills its worker is tried again, then recorded, and the others go on. Results are of
    the contents of weights, model file and dataset, and of the settings; see docs/scans.md. With the local engine,
    a script that calls this must do so below ``if __name__ == "__main__":``, as for any use of ``multiprocessing``.

    Args:
        data: the dataset, or its folder.
        out: folder of the results; one of an earlier scan is gone on with.
        weights: pattern of files, such as ``"runs/*/step-*.safetensors"``; or
        manifest: a file that lists them, CSV or JSON lines: weights, model, layer, and any tags.
        model: spec of the factory, as ``--model`` takes it.
        layers: dotted names of modules, one or several.
        split: of the dataset, where ``data`` is a folder.
        counts: keep the integers behind the IoU of every checkpoint.
        engine: ``"local"`` or ``"ray"``.
        address: of an existing Ray cluster; without it, one is started on this machine.
        processes: of the local engine; without it, one a GPU, or one a core up to 8.
        threads: of each checkpoint; without it, the cores shared out among the processes.
        retries: after a failure.
        shards: share out the images of each checkpoint to so many workers, or as many as there are batches; the
            results are the same.
        watch: go on with checkpoints that arrive.
        poll: seconds between two looks for them.
        idle_exit: end when none has arrived for so many seconds; without it, never.
        unsafe_weights: unpickle whatever the files of weights hold; runs code that they bring along.
        progress: called with the stage, the checkpoints done and the checkpoints in all.
        settings: quantile, iou_threshold, union, grid, normalize, input_size, limit, dtype, nonfinite, batch_size,
            device and backend, as :func:`pydissect.dissect` takes them.

    Returns:
        What was made and what failed.

    Raises:
        InputError: an argument is wrong, or another scan is writing to ``out``.
    """
    needs("pyarrow", "scan")
    names = [layers] if isinstance(layers, str) else list(layers)
    find = finder(weights, manifest, model, names)
    _check_number("retries", retries, 0)
    _check_number("poll", poll, 0)
    _check_number("idle_exit", idle_exit, 0)
    dataset = data if isinstance(data, Broden) else Broden(data, split)
    # The dataset's own size by its numbers, so that it is the same result whether it is given or not.
    size = settings.pop("input_size", None) or dataset.image_size
    size = (size, size) if isinstance(size, int) else size
    try:
        chosen = Settings(**settings, unsafe_weights=unsafe_weights, counts=counts, shards=shards, input_size=size)
    except TypeError as error:
        raise InputError(f"scan: {error}") from None
    start = plan_engine(engine, chosen, processes=processes, threads=threads, address=address)
    return drive(
        ScanFolder(Path(out)),
        dataset,
        find,
        chosen,
        start,
        retries=retries,
        watch=Watch(find, poll) if watch else None,
        poll=poll,
        idle_exit=idle_exit,
        progress=progress,
    )


def drive(
    folder: ScanFolder,
    dataset: Broden,
    find: Callable[[], list[Checkpoint]],
    settings: Settings,
    start: Callable[[], Engine],
    *,
    retries: int = 1,
    watch: Watch | None = None,
    poll: float = 10.0,
    idle_exit: float | None = None,
    progress: Progress = silent,
) -> ScanReport:
    """The scan of :func:`scan`, of arguments that have been checked.

    Args:
        folder: of the results.
        dataset: of all checkpoints.
        find: lists the checkpoints.
        settings: of all checkpoints.
        start: starts the engine; called when there is work, before anything is written.
        retries: after a failure.
        watch: that tells of checkpoints that arrive.
        poll: seconds between two looks for them.
        idle_exit: seconds without one after which the scan ends.
        progress: as for :func:`scan`.
    """
    checkpoints = find() if watch is None else watch.look()
    if not checkpoints and watch is None:
        raise InputError("--weights: expected files, found none that the pattern matches")
    if not folder.is_made():
        # There is work for certain, and not even a folder is made if it cannot be done.
        settings.check()
    folder.make()
    with folder.locked():
        folder.sweep()
        driver = _Driver(folder, Plan(folder, settings, dataset), start, retries, progress)
        try:
            driver.add(checkpoints)
            driver.work()
            if watch is not None:
                driver.work_on(watch, poll, idle_exit)
            driver.tidy()
        finally:
            driver.close()
        return driver.report()


class _Driver:
    def __init__(
        self, folder: ScanFolder, plan: Plan, start: Callable[[], Engine], retries: int, progress: Progress
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._start = start
        self._engine: Engine | None = None
        self._retries = retries
        self._progress = progress
        self._entries: dict[tuple[str, str, tuple[str, ...]], Entry] = {}
        self._new: Iterator[Entry] = iter(())
        self._first: Task | None = None
        self._steps = Steps(folder)
        self._again: deque[Task] = deque()
        self._at_work: dict[tuple[str, int | None], Task] = {}
        self._begun: set[str] = set()
        self._attempts: Counter[tuple[str, int | None]] = Counter()
        self._failed: dict[str, Failure] = {}
        self._settled = 0  # entries that need nothing more of this driver
        self._made = 0
        self._began = time.time()
        self._saved = 0.0
        self._failures_before = set(folder.failures())

    def add(self, checkpoints: Iterable[Checkpoint]) -> None:
        """More to do."""
        entries = self._plan.add(checkpoints)
        self._settled -= sum(entry.checkpoint.name in self._entries for entry in entries)
        self._entries.update({entry.checkpoint.name: entry for entry in entries})
        self._new = chain(self._new, self._plan.with_keys(entries))
        if self._engine is None and (task := self._next_task()) is not None:
            self._first = task
            self._tell()
            self._engine = self._start()
        # From now on, `scan status` counts them.
        self._save()

    def work(self) -> None:
        """Until nothing is left to do."""
        while self.step(_PATIENCE):
            pass

    def work_on(self, watch: Watch, poll: float, idle_exit: float | None) -> None:
        """The same, and with all that arrives."""
        looked = idle_since = time.monotonic()
        while True:
            busy = self.step(min(_PATIENCE, poll))
            now = time.monotonic()
            if busy:
                idle_since = now
            elif idle_exit is not None and now - idle_since >= idle_exit:
                return
            if now - looked < poll:
                if not busy:
                    time.sleep(min(poll - (now - looked), _PATIENCE))
                continue
            looked = now
            arrived: list[Checkpoint] = []
            # A manifest that is just being written to.
            with suppress(InputError):
                arrived = watch.look()
            if arrived:
                self.add(arrived)

    def step(self, patience: float) -> bool:
        """Hands out work, takes what is ready; whether there was anything to do."""
        self._hand_out()
        if not self._at_work:
            return False
        assert self._engine is not None
        for task, outcome in self._engine.wait(patience):
            self._settle(task, outcome)
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._save()
        self._tell()
        return True

    def close(self) -> None:
        """Ends the workers and saves what is known; where nothing was to be done, it was when that was found."""
        if self._engine is None:
            return
        self._engine.close()
        self._at_work.clear()
        self._save()

    def tidy(self) -> None:
        """Removes shards that no result waits for: of weights or settings that are no longer listed, or left by a kill.

        To be called when there is nothing left to do.
        """
        self._folder.forget_other_shards({entry.key for entry in self._plan.listing} - self._plan.done)

    def report(self) -> ScanReport:
        """How it ended."""
        keys = dict.fromkeys(entry.key or "" for entry in self._entries.values())
        failures = tuple(self._failed[key] for key in keys if key in self._failed)
        return ScanReport(len(self._entries), self._made, failures)

    def _hand_out(self) -> None:
        while self._engine is not None and self._engine.room() > 0:
            task, self._first = self._first or self._next_task(), None
            if task is None:
                return
            self._at_work[task.name] = task
            self._engine.submit(task)

    def _next_task(self) -> Task | None:
        while (task := self._steps.next()) is None:
            entry = next(self._new, None)
            if entry is not None:
                assert entry.key is not None
                # One that failed before is tried once more if it is listed again, hence if it has changed.
                is_done = self._plan.is_done(entry)
                if is_done and entry.key in self._failures_before:
                    self._folder.forget_failure(entry.key)
                if is_done or entry.key in self._begun:
                    self._settled += 1
                    continue
                self._begun.add(entry.key)
                self._steps.begin(self._plan.task(entry))
            # Last, since what stood in their way may have passed by then.
            elif self._again:
                self._steps.retry(self._again.popleft())
            else:
                return None
        return task

    def _settle(self, task: Task, outcome: Outcome) -> None:
        del self._at_work[task.name]
        self._attempts[task.name] += 1
        if task.key in self._failed:
            return  # for another of its shards
        # Its worker may have died after it had written the result, and before it could say so.
        is_made = task.shard is None and task.key not in self._plan.done and self._folder.result_file(task.key).exists()
        if not outcome.error or is_made:
            if task.shard is not None:
                self._steps.end_shard(task)
                return
            self._plan.done.add(task.key)
            self._made += 1
            self._folder.forget_shards(task.key)
            if task.key in self._failures_before:
                self._folder.forget_failure(task.key)
        elif self._attempts[task.name] <= self._retries:
            self._again.append(task)
            return
        else:
            failure = Failure(
                task.key, task.weights, task.step + outcome.error, self._attempts[task.name], outcome.detail
            )
            self._folder.record_failure(failure)
            self._failed[task.key] = failure
            self._steps.drop(task.key)
            self._again = deque(other for other in self._again if other.key != task.key)
        self._settled += 1

    def _save(self) -> None:
        self._plan.listing.save(self._folder.listing_file)
        self._folder.fold()
        running = list(dict.fromkeys(task.weights for task in self._at_work.values()))
        self._folder.record_progress(DriverProgress(self._began, time.time(), self._made, running))
        self._saved = time.monotonic()

    def _tell(self) -> None:
        self._progress("scanning", self._settled, len(self._entries))


def _check_number(name: str, value: float | None, low: int) -> None:
    if value is not None and not value >= low:
        raise InputError(f"{name}: expected a number, {low} or more, found {value!r}")
