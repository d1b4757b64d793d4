"""Counting of every size, format and instruction set, and what it is compared with."""

import pytest
import torch

from pydissect import _cpu
from pydissect.bench.baselines import annotation, older_loop, plain_torch
from pydissect.bench.counting import BASELINE_MAPS, make_batches
from pydissect.bench.stream import Stream, lay, leading_images
from pydissect.bench.timing import cpu_level
from pydissect.bench.workloads import FORMATS, WORKLOADS, CountingWorkload

STREAM_BYTES = 256 << 20


@pytest.fixture(
    params=[workload for workload in WORKLOADS if isinstance(workload, CountingWorkload)],
    ids=lambda workload: workload.name,
    scope="module",
)
def batches(request):
    return make_batches(request.param, STREAM_BYTES)


@pytest.fixture(params=FORMATS, ids=lambda layout: layout.name.replace(" ", "-"), scope="module")
def stream(request, batches) -> Stream:
    return lay(batches, request.param, STREAM_BYTES, "huge")


@pytest.fixture(scope="module")
def plain(batches) -> Stream:
    """fp32, contiguous."""
    return lay(batches, FORMATS[0], STREAM_BYTES, "huge")


@pytest.fixture(scope="module")
def part(plain):
    """What the slow ones get: activations and bool masks."""
    return leading_images(plain.batches, BASELINE_MAPS)


def test_count(benchmark, stream, thread_count):
    benchmark.extra_info["maps"] = stream.maps
    benchmark(stream.count)


@pytest.mark.parametrize("level", _cpu.levels()[1:])
def test_count_with_lesser_instructions(benchmark, plain, level, thread_count):
    benchmark.extra_info["maps"] = plain.maps
    with cpu_level(level):
        benchmark(plain.count)


def test_read_memory(benchmark, plain, thread_count):
    benchmark(_cpu.read_seconds, plain.buffer.data_ptr(), plain.buffer.nbytes, torch.get_num_threads(), 1)


def test_plain_torch(benchmark, plain, part):
    acts, masks = part
    benchmark.extra_info["maps"] = acts.shape[0] * acts.shape[1]
    benchmark(plain_torch, acts, masks, plain.threshold)


def test_older_loop(benchmark, plain, part):
    acts, masks = part
    benchmark.extra_info["maps"] = acts.shape[0] * acts.shape[1]
    annotations = [annotation(image) for image in masks]
    benchmark(older_loop, acts.numpy(), annotations, plain.threshold.numpy(), masks.shape[1])
