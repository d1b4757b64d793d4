"""Counting of every size, format and instruction set, and the code that it is compared with."""

import pytest
import torch

from pydissect import _cpu
from pydissect.bench.baselines import annotation, older_loop, plain_torch
from pydissect.bench.counting import BASELINE_MAPS, make_batches
from pydissect.bench.stream import Stream, lay, leading_images
from pydissect.bench.timing import cpu_level
from pydissect.bench.workloads import FORMATS, WORKLOADS, CountingWorkload, Format

STREAM_BYTES = 256 << 20
SIZES = [workload for workload in WORKLOADS if isinstance(workload, CountingWorkload)]


def streamed(workload: CountingWorkload, layout: Format) -> Stream:
    return lay(make_batches(workload, STREAM_BYTES), layout, STREAM_BYTES, "huge")


@pytest.fixture(params=SIZES, ids=lambda workload: workload.name, scope="module")
def stream(request) -> Stream:
    return streamed(request.param, FORMATS[0])


@pytest.mark.parametrize("level", _cpu.levels())
def test_count(benchmark, stream, level, thread_count):
    benchmark.extra_info["maps"] = stream.maps
    with cpu_level(level):
        benchmark(stream.count)


@pytest.mark.parametrize("layout", FORMATS[1:], ids=lambda layout: layout.name.replace(" ", "-"))
@pytest.mark.parametrize("workload", SIZES, ids=lambda workload: workload.name)
def test_count_format(benchmark, workload, layout, thread_count):
    stream = streamed(workload, layout)
    benchmark.extra_info["maps"] = stream.maps
    benchmark(stream.count)


def test_plain_torch(benchmark, stream):
    acts, masks = leading_images(stream.batches, BASELINE_MAPS)
    benchmark.extra_info["maps"] = acts.shape[0] * acts.shape[1]
    benchmark(plain_torch, acts, masks, stream.threshold)


def test_older_loop(benchmark, stream):
    acts, masks = leading_images(stream.batches, BASELINE_MAPS)
    benchmark.extra_info["maps"] = acts.shape[0] * acts.shape[1]
    annotations = [annotation(image) for image in masks]
    benchmark(older_loop, acts.numpy(), annotations, stream.threshold.numpy(), masks.shape[1])


def test_read_memory(benchmark, stream, thread_count):
    benchmark(_cpu.read_seconds, stream.buffer.data_ptr(), stream.buffer.nbytes, torch.get_num_threads(), 1)
