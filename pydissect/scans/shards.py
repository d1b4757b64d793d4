"""Checkpoints in shards: which images are in each, and which tasks follow from which."""

from collections import deque
from dataclasses import replace
from itertools import pairwise

from .engines import Task
from .folder import ScanFolder


def cut(images: int, batch_size: int, shards: int) -> tuple[range, ...]:
    """Cuts a dataset into shards of consecutive images, as equal as whole batches allow.

    A batch is not cut: the model may round otherwise in a smaller one. So there are no more shards than batches.

    Args:
        images: of the dataset, at least one.
        batch_size: images a batch.
        shards: how many are wanted.

    Returns:
        The numbers of each shard's images; every shard has some.
    """
    batches = -(-images // batch_size)
    shards = min(shards, batches)
    ends = [min(batches * i // shards * batch_size, images) for i in range(shards + 1)]
    return tuple(range(begin, end) for begin, end in pairwise(ends))


class Steps:
    """The tasks of checkpoints that have begun: a task for each shard, then one that merges them.

    Checkpoints in one piece are a task each.

    Args:
        folder: of the scan, which has the shards that are done.
    """

    def __init__(self, folder: ScanFolder) -> None:
        self._folder = folder
        self._waiting: deque[Task] = deque()
        self._missing: dict[str, set[int]] = {}

    def begin(self, task: Task) -> None:
        """Takes up a checkpoint, by the task that writes its result; only the shards that are missing are done."""
        missing = [
            number
            for number, images in enumerate(task.shards)
            if not self._folder.has_shard(task.key, images, task.layers)
        ]
        self._missing[task.key] = set(missing)
        self._waiting.extend(replace(task, shard=number) for number in missing)
        if not missing:
            self._waiting.append(task)

    def next(self) -> Task | None:
        """The task to do next, None if none can be done before another has ended."""
        return self._waiting.popleft() if self._waiting else None

    def retry(self, task: Task) -> None:
        """Takes up a task that has failed."""
        if task.shard is None:
            # A shard whose file could not be read is missing again.
            self.begin(task)
        else:
            self._waiting.append(task)

    def end_shard(self, task: Task) -> None:
        """Takes note that the task of a shard is done."""
        assert task.shard is not None
        missing = self._missing[task.key]
        missing.discard(task.shard)
        if not missing:
            # First, so that the files of the shards are soon removed.
            self._waiting.appendleft(replace(task, shard=None))

    def drop(self, key: str) -> None:
        """Forgets the tasks of a checkpoint that has failed."""
        self._waiting = deque(task for task in self._waiting if task.key != key)
