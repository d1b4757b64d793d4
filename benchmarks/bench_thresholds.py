"""Exact thresholds, streaming, and the gathering of all values that they are compared with."""

import pytest

from pydissect.bench.baselines import gathered_thresholds
from pydissect.bench.memory import bytes_held
from pydissect.bench.thresholds import ORDERS, make_values, streamed
from pydissect.bench.workloads import QUANTILE, WORKLOADS, ThresholdWorkload

SIZES = [workload for workload in WORKLOADS if isinstance(workload, ThresholdWorkload)]


@pytest.fixture(params=SIZES, ids=lambda workload: workload.name, scope="module")
def workload(request) -> ThresholdWorkload:
    return request.param


@pytest.fixture(params=ORDERS, scope="module")
def batches(request, workload):
    return make_values(workload, workload.images, request.param, "huge")


def test_stream(benchmark, batches, thread_count):
    benchmark.extra_info["bytes"] = sum(batch.nbytes for batch in batches)
    benchmark.extra_info["bytes held"] = bytes_held(streamed(batches))
    benchmark(lambda: streamed(batches).compute())


def test_gather_and_topk(benchmark, batches, thread_count):
    benchmark.extra_info["bytes"] = sum(batch.nbytes for batch in batches)
    benchmark(gathered_thresholds, batches, QUANTILE)
