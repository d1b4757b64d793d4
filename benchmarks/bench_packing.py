"""Packing of masks, and NumPy's, concept by concept, that it is compared with."""

import pytest

from pydissect import PackedMasks
from pydissect.bench.baselines import packed_bool, packed_labels
from pydissect.bench.workloads import CONCEPTS, WORKLOADS, PackingWorkload, make_labels

IMAGES = {workload.kind: workload.images for workload in WORKLOADS if isinstance(workload, PackingWorkload)}


@pytest.fixture(scope="module")
def labels():
    return make_labels(IMAGES["labels"])


@pytest.fixture(scope="module")
def masks():
    return PackedMasks.from_labels(make_labels(IMAGES["bool"]), CONCEPTS).unpack()


def test_labels(benchmark, labels, thread_count):
    benchmark(PackedMasks.from_labels, labels, CONCEPTS)


def test_labels_numpy(benchmark, labels):
    benchmark(packed_labels, labels.numpy())


def test_bool(benchmark, masks, thread_count):
    benchmark(PackedMasks.from_bool, masks)


def test_bool_numpy(benchmark, masks):
    benchmark(packed_bool, masks.numpy())
