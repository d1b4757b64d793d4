"""Counting: every format, instruction set and number of threads, against reading memory and against other code."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from .. import PackedMasks, _cpu
from ..progress import Progress
from .baselines import Annotation, annotation, older_loop, plain_torch
from .memory import huge_share
from .results import CountingResult, CountingRow, Settings, Speed
from .stream import Batch, Stream, lay, leading_images
from .timing import best_seconds, cpu_level, interleaved, median_ratio, threads
from .workloads import (
    CONCEPTS,
    FORMATS,
    CountingWorkload,
    check_density,
    density,
    make_activations,
    make_labels,
)

BASELINE_MAPS = 4096
"""The other code, which is slow, gets so many maps."""


class _Side(NamedTuple):
    """What takes its turn in a round."""

    what: str
    threads: int
    level: str = ""


def make_batches(workload: CountingWorkload, min_bytes: int) -> list[Batch]:
    """Batches of a workload, all different, fp32, as many as ``min_bytes`` takes."""
    images, units, side = workload.images, workload.units, workload.side
    return [
        (
            make_activations(images, units, side, workload.live_maps, workload.blobs, seed),
            PackedMasks.from_labels(make_labels(images, seed), CONCEPTS),
        )
        for seed in range(-(-min_bytes // (4 * images * units * side**2)))
    ]


def measure_workload(workload: CountingWorkload, settings: Settings, progress: Progress) -> CountingResult:
    """Measures made activations.

    Raises:
        AssertionError: they are not as sparse as real ones.
    """
    batches = make_batches(workload, settings.stream_bytes)
    result = measure_batches(workload.name, workload.measured_on, batches, settings, progress)
    check_density(workload, result.live_maps, result.live_cells)
    return result


def measure_batches(
    name: str, source: str, batches: Sequence[Batch], settings: Settings, progress: Progress
) -> CountingResult:
    """Measures counting of given batches.

    Args:
        name: of the workload or layer.
        source: of the activations.
        batches: ``[N, U, h, w]`` fp32 and their masks.
        settings: of the run.
        progress: told of the rounds.
    """
    streams = {layout.name: lay(batches, layout, settings.stream_bytes, settings.pages) for layout in FORMATS}
    plain, *_ = streams.values()
    acts, masks = leading_images(plain.batches, BASELINE_MAPS)
    annotations = [annotation(image) for image in masks]
    counts = sorted({1, settings.threads})
    best, *others = _cpu.levels()
    ours = [(layout.name, best) for layout in FORMATS] + [(FORMATS[0].name, level) for level in others]

    torch_side, loop_side = _Side("plain torch", settings.threads), _Side("older loop", 1)
    sides: dict[_Side, Callable[[], float]] = {
        torch_side: partial(_time_torch, acts, masks, plain.threshold, settings.threads, settings.runs),
        loop_side: partial(_time_loop, acts, annotations, plain.threshold, masks.shape[1], settings.runs),
    }
    for count in counts:
        sides[_Side("read", count)] = partial(_time_reading, plain, count, settings.runs)
        for layout, level in ours:
            sides[_Side(layout, count, level)] = partial(_time_counting, streams[layout], level, count, settings.runs)
    times = interleaved(sides, settings.rounds, lambda done: progress(name, done, settings.rounds))

    baseline_maps = acts.shape[0] * acts.shape[1]
    work = {torch_side: baseline_maps, loop_side: baseline_maps}
    work |= {_Side("read", count): plain.buffer.nbytes for count in counts}
    work |= {side: streams[side.what].maps for side in sides if side.what in streams}
    speeds = {side: [work[side] / taken for taken in times[side]] for side in sides}

    def row(layout: str, level: str, count: int) -> CountingRow:
        speed = speeds[_Side(layout, count, level)]
        map_bytes = streams[layout].buffer.nbytes / streams[layout].maps
        return CountingRow(
            format=layout,
            level=level,
            threads=count,
            maps_per_second=statistics.median(speed),
            bytes_per_second=statistics.median(speed) * map_bytes,
            share_of_read=median_ratio(speed, speeds[_Side("read", count)]) * map_bytes,
            times_plain_torch=median_ratio(speed, speeds[torch_side]),
            times_older_loop=median_ratio(speed, speeds[loop_side]),
            scaling=median_ratio(speed, speeds[_Side(layout, 1, level)]) if count > 1 else None,
        )

    shares = [density(batch, plain.threshold) for batch, _ in plain.batches]
    carried = sum(int(packed.concept_images().sum()) for _, packed in plain.batches)
    return CountingResult(
        name=name,
        shape=list(batches[0][0].shape),
        source=source,
        live_maps=statistics.fmean(maps for maps, _ in shares),
        live_cells=statistics.fmean(cells for _, cells in shares),
        masks=carried / sum(len(packed) for _, packed in plain.batches),
        mask_size=list(masks.shape[2:]),
        map_bytes=plain.buffer.nbytes // plain.maps,
        huge_share=min(huge_share(stream.buffer) for stream in streams.values()),
        read=[Speed(count, statistics.median(speeds[_Side("read", count)])) for count in counts],
        plain_torch=Speed(settings.threads, statistics.median(speeds[torch_side])),
        older_loop=Speed(1, statistics.median(speeds[loop_side])),
        rows=[row(layout, level, count) for layout, level in ours for count in counts],
    )


def _time_reading(stream: Stream, count: int, runs: int) -> float:
    return _cpu.read_seconds(stream.buffer.data_ptr(), stream.buffer.nbytes, count, runs)


def _time_counting(stream: Stream, level: str, count: int, runs: int) -> float:
    with cpu_level(level), threads(count):
        # Threads start here, on the batch that the caches forget before its turn comes.
        Stream(stream.buffer, stream.batches[-1:], stream.threshold).count()
        return best_seconds(stream.count, runs)


def _time_torch(acts: Tensor, masks: Tensor, threshold: Tensor, count: int, runs: int) -> float:
    with threads(count):
        return best_seconds(lambda: plain_torch(acts, masks, threshold), runs)


def _time_loop(acts: Tensor, annotations: Sequence[Annotation], threshold: Tensor, concepts: int, runs: int) -> float:
    with threads(1):
        return best_seconds(lambda: older_loop(acts.numpy(), annotations, threshold.numpy(), concepts), runs)
