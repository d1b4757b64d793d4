"""A whole run of the benchmark."""

from collections.abc import Mapping, Sequence

import torch

from ..progress import Progress, silent
from .counting import measure_batches, measure_workload
from .device import measure_device
from .machine import describe_machine
from .packing import measure_packing
from .results import Report, Settings
from .stream import Batch
from .thresholds import measure_thresholds
from .workloads import CountingWorkload, ThresholdWorkload, Workload


def run_benchmark(
    workloads: Sequence[Workload],
    settings: Settings,
    layers: Mapping[str, list[Batch]] | None = None,
    source: str = "",
    progress: Progress = silent,
) -> Report:
    """Measures workloads, and counting on the activations of a network's layers.

    Args:
        workloads: see :data:`WORKLOADS`.
        settings: of the run.
        layers: batches of activations by the layer's name, see :func:`capture_layers`.
        source: what network and data they are from.
        progress: told of each workload's rounds.

    Raises:
        AssertionError: made activations are not as sparse as real ones.
    """
    report = Report(describe_machine(), settings)
    for workload in workloads:
        if isinstance(workload, CountingWorkload):
            report.counting.append(measure_workload(workload, settings, progress))
        elif isinstance(workload, ThresholdWorkload):
            report.thresholds.extend(measure_thresholds(workload, settings, progress))
        else:
            report.packing.extend(measure_packing(workload, settings, progress))
    for name, batches in (layers or {}).items():
        report.counting.append(measure_batches(name, source, batches, settings, progress))
    return report


def run_device_benchmark(
    workloads: Sequence[CountingWorkload], settings: Settings, device: torch.device, progress: Progress = silent
) -> Report:
    """Measures counting on a device.

    Args:
        workloads: see :data:`GPU_WORKLOADS`.
        settings: of the run; ``stream_bytes`` of activations lie in the device's memory.
        device: that holds them.
        progress: told of each workload's rounds.

    Raises:
        AssertionError: made activations are not as sparse as real ones.
        InputError: no backend works on the device.
    """
    report = Report(describe_machine(), settings)
    for workload in workloads:
        report.devices.append(measure_device(workload, device, settings.stream_bytes, settings.rounds, progress))
    return report
