"""Packing masks into bits against ``np.packbits`` of each concept."""

import statistics
from collections.abc import Callable
from functools import partial

from .. import PackedMasks
from ..progress import Progress
from .baselines import packed_bool, packed_labels
from .results import PackingRow, Settings
from .timing import interleaved, median_ratio, seconds, threads
from .workloads import CONCEPTS, MASKS_PER_IMAGE, PackingWorkload, make_labels


def measure_packing(workload: PackingWorkload, settings: Settings, progress: Progress) -> list[PackingRow]:
    """Measures a workload on one thread and on all."""
    images = workload.images // 8 if settings.quick else workload.images
    labels = make_labels(images)
    ours: Callable[[], object]
    numpy: Callable[[], object]
    if workload.kind == "labels":
        tensor = labels
        ours, numpy = lambda: PackedMasks.from_labels(labels, CONCEPTS), lambda: packed_labels(labels.numpy())
    else:
        masks = PackedMasks.from_labels(labels, CONCEPTS).unpack()
        tensor = masks
        ours, numpy = lambda: PackedMasks.from_bool(masks), lambda: packed_bool(masks.numpy())

    def on_threads(count: int) -> float:
        with threads(count):
            return seconds(ours)

    counts = sorted({1, settings.threads})
    sides: dict[int | str, Callable[[], float]] = {count: partial(on_threads, count) for count in counts}
    sides["numpy"] = partial(seconds, numpy)
    times = interleaved(sides, settings.rounds, lambda done: progress(workload.name, done, settings.rounds))
    return [
        PackingRow(
            name=workload.name,
            shape=list(tensor.shape),
            threads=count,
            masks_per_second=images * MASKS_PER_IMAGE / statistics.median(times[count]),
            bytes_per_second=tensor.nbytes / statistics.median(times[count]),
            times_numpy=median_ratio(times["numpy"], times[count]),
        )
        for count in counts
    ]
