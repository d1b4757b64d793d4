"""Exact thresholds, streaming, against gathering all values and ``torch.topk``."""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .. import ThresholdFinder
from ..progress import Progress
from .baselines import gathered_thresholds
from .memory import bytes_held, make_buffer
from .results import Settings, ThresholdRow
from .timing import interleaved, median_ratio, seconds, threads
from .workloads import QUANTILE, ThresholdWorkload, make_activations

BATCH = 32
ORDERS = ("natural", "sorted")
_LIVE_MAPS, _BLOBS = 0.39, 1.1  # a real layer of 13 x 13


def make_values(workload: ThresholdWorkload, images: int, order: str, pages: str) -> list[Tensor]:
    """Batches of activations in one buffer.

    Args:
        workload: sizes.
        images: of them.
        order: ``natural``, rectified activations of which no image has larger ones than another, or
            ``sorted``, where every value of an image exceeds all of the image before: the worst
            case, since all of them have to be taken in.
        pages: see :func:`make_buffer`.
    """
    units, side = workload.units, workload.side
    values = make_buffer(4 * images * units * side**2, pages).view(torch.float32).view(images, units, side, side)
    batches = list(torch.split(values, BATCH))
    for i, batch in enumerate(batches):
        if order == "natural":
            batch.copy_(make_activations(len(batch), units, side, _LIVE_MAPS, _BLOBS, seed=i))
        else:
            batch.copy_(torch.rand(batch.shape, generator=torch.Generator().manual_seed(i)))
            batch.add_(torch.arange(i * BATCH, i * BATCH + len(batch)).view(-1, 1, 1, 1))
    return batches


def streamed(batches: list[Tensor], backend: str = "auto") -> ThresholdFinder:
    """A finder that has seen the batches."""
    values = sum(len(batch) * batch.shape[2] * batch.shape[3] for batch in batches)
    finder = ThresholdFinder(values, QUANTILE, backend=backend)
    for batch in batches:
        finder.update(batch)
    return finder


def measure_thresholds(workload: ThresholdWorkload, settings: Settings, progress: Progress) -> list[ThresholdRow]:
    """Measures both orders, on one thread and on all."""
    images = workload.images // 8 if settings.quick else workload.images
    counts = sorted({1, settings.threads})
    rounds = settings.rounds
    rows = []
    for i, order in enumerate(ORDERS):
        batches = make_values(workload, images, order, settings.pages)
        size = sum(batch.nbytes for batch in batches)

        def done(count: int, before: int = i * rounds) -> None:
            progress(workload.name, before + count, len(ORDERS) * rounds)

        sides = {
            (function, count): partial(_seconds, function, batches, count)
            for function in (_stream, _gather)
            for count in counts
        }
        times = interleaved(sides, rounds, done)
        held = bytes_held(streamed(batches))
        for count in counts:
            ours, topk = times[_stream, count], times[_gather, count]
            rows.append(
                ThresholdRow(
                    name=workload.name,
                    shape=[images, workload.units, workload.side, workload.side],
                    order=order,
                    threads=count,
                    bytes_per_second=size / statistics.median(ours),
                    topk_bytes_per_second=size / statistics.median(topk),
                    times_topk=median_ratio(topk, ours),
                    bytes_held=held,
                    topk_bytes_held=size,
                )
            )
    return rows


def _stream(batches: list[Tensor]) -> Tensor:
    return streamed(batches).compute()


def _gather(batches: list[Tensor]) -> Tensor:
    return gathered_thresholds(batches, QUANTILE)


def _seconds(function: Callable[[list[Tensor]], Tensor], batches: list[Tensor], count: int) -> float:
    with threads(count):
        return seconds(lambda: function(batches))
