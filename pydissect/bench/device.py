"""Counting and thresholds on a device whose memory holds the activations, by every backend; against its bandwidth."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import PackedMasks, quantile_thresholds
from ..backends import CountArguments, Sums, backend_names, load_backend
from ..devices import describe_device
from ..errors import InputError
from ..progress import Progress
from .baselines import plain_torch, plain_torch_of_all
from .results import DeviceResult, DeviceRow
from .thresholds import streamed
from .timing import interleaved, median_ratio, seconds
from .workloads import (
    CONCEPTS,
    FORMATS,
    QUANTILE,
    CountingWorkload,
    Format,
    check_density,
    density,
    make_activations,
    make_labels,
)

_WARM_UP = 2
_BATCH_BYTES = 1 << 29  # so that starting a kernel costs nothing beside it
_PLAIN_IMAGES = 8  # plain torch, which is slow, gets so many


def device_backends(device: torch.device) -> list[str]:
    """The backends that work on a device, but the reference, which is not made for speed.

    Raises:
        InputError: none does; the message says why each does not.
    """
    reasons = {name: load_backend(name).unavailable(device) for name in backend_names() if name != "reference"}
    working = [name for name, reason in reasons.items() if reason is None]
    if not working:
        missing = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise InputError(f"--device: expected one that a backend works on, found {device}: {missing}")
    return working


@dataclass
class _Stream:
    """Copies of a batch one after the other in a device's memory, so that no cache holds what comes next."""

    acts: list[Tensor]
    masks: list[PackedMasks]
    threshold: Tensor

    @property
    def maps(self) -> int:
        return sum(acts.shape[0] * acts.shape[1] for acts in self.acts)

    @property
    def bytes(self) -> int:
        return sum(acts.numel() * acts.element_size() for acts in self.acts)


def measure_device(
    workload: CountingWorkload, device: torch.device, stream_bytes: int, rounds: int, progress: Progress
) -> DeviceResult:
    """Measures one workload.

    Args:
        workload: made activations.
        device: that holds them.
        stream_bytes: the least that is gone through; more than the device's caches hold.
        rounds: in each, every side has its turn.
        progress: told of the rounds.

    Raises:
        AssertionError: they are not as sparse as real ones.
        InputError: no backend works on the device.
    """
    backends = device_backends(device)
    batch_bytes = min(_BATCH_BYTES, stream_bytes)
    acts = make_activations(workload.images, workload.units, workload.side, workload.live_maps, workload.blobs)
    threshold = quantile_thresholds(acts, QUANTILE)
    live_maps, live_cells = density(acts, threshold)
    check_density(workload, live_maps, live_cells)
    labels = make_labels(workload.images)
    packed = PackedMasks.from_labels(labels, CONCEPTS)
    shorter = slice(0, _PLAIN_IMAGES)
    few, few_masks, few_threshold = acts[shorter].to(device), packed[shorter].unpack().to(device), threshold.to(device)

    formats = FORMATS[:2]
    streams = {
        layout.name: _stream(acts, packed, threshold, layout, device, stream_bytes, batch_bytes) for layout in formats
    }
    plain = next(iter(streams.values()))
    sides: dict[tuple[str, ...], Callable[[], object]] = {
        ("read",): lambda: [_read(batch) for batch in plain.acts],
        ("copy",): _copying(plain),
        ("plain",): partial(plain_torch, few, few_masks, few_threshold),
    }
    compiled = _compiled(few, few_masks, few_threshold)
    if compiled is not None:
        sides["compiled",] = compiled
    for layout in formats:
        stream = streams[layout.name]
        dead = torch.full_like(stream.threshold, torch.finfo(torch.float32).max)
        bare = [_without_masks(masks) for masks in stream.masks]
        for name in backends:
            sides[name, layout.name, "all"] = _counting(name, stream, stream.threshold, stream.masks)
            sides[name, layout.name, "scan"] = _counting(name, stream, dead, bare)
            sides[name, layout.name, "interpolate"] = _counting(name, stream, stream.threshold, bare)
            sides[name, layout.name, "thresholds"] = partial(streamed, stream.acts, name)
    times = _in_turn(sides, device, rounds, lambda done: progress(workload.name, done, rounds))

    few_maps = few.shape[0] * few.shape[1]

    def row(name: str, layout: Format) -> DeviceRow:
        stream = streams[layout.name]
        time_all = times[name, layout.name, "all"]
        speed = [stream.maps / taken for taken in time_all]
        map_bytes = stream.bytes / stream.maps
        read = [plain.bytes / taken for taken in times["read",]]
        copy = [2 * plain.bytes / taken for taken in times["copy",]]
        scan, interpolate = times[name, layout.name, "scan"], times[name, layout.name, "interpolate"]
        thresholds = times[name, layout.name, "thresholds"]
        return DeviceRow(
            backend=name,
            format=layout.name,
            maps_per_second=statistics.median(speed),
            bytes_per_second=statistics.median(speed) * map_bytes,
            share_of_read=median_ratio(speed, read) * map_bytes,
            share_of_copy=median_ratio(speed, copy) * map_bytes,
            times_plain_torch=median_ratio(speed, [few_maps / taken for taken in times["plain",]]),
            times_compiled_torch=None
            if compiled is None
            else median_ratio(speed, [few_maps / taken for taken in times["compiled",]]),
            scan_share=median_ratio(scan, time_all),
            interpolate_share=median_ratio([b - a for a, b in zip(scan, interpolate, strict=True)], time_all),
            thresholds_share_of_read=median_ratio([stream.bytes / taken for taken in thresholds], read),
        )

    return DeviceResult(
        device=describe_device(device),
        name=workload.name,
        versions=[f"{name}: {load_backend(name).details()}" for name in backends],
        shape=list(plain.acts[0].shape),
        stream_bytes=plain.bytes,
        live_maps=live_maps,
        live_cells=live_cells,
        read_bytes_per_second=plain.bytes / statistics.median(times["read",]),
        copy_bytes_per_second=2 * plain.bytes / statistics.median(times["copy",]),
        plain_torch=few_maps / statistics.median(times["plain",]),
        compiled_torch=None if compiled is None else few_maps / statistics.median(times["compiled",]),
        rows=[row(name, layout) for layout in formats for name in backends],
    )


def _stream(
    acts: Tensor,
    masks: PackedMasks,
    threshold: Tensor,
    layout: Format,
    device: torch.device,
    min_bytes: int,
    batch_bytes: int,
) -> _Stream:
    few = acts.to(device, layout.dtype)
    times = -(-batch_bytes // (few.numel() * few.element_size()))
    first = few.repeat(times, 1, 1, 1)
    copies = -(-min_bytes // (first.numel() * first.element_size()))
    # Rounding to halves moves values across thresholds; those of the rounded ones keep as many.
    level = quantile_thresholds(few.cpu(), QUANTILE) if layout.dtype != torch.float32 else threshold
    on_device = _repeated(masks.to(device), times)
    return _Stream(
        [first, *(first.clone() for _ in range(copies - 1))],
        [on_device, *(on_device.map(Tensor.clone) for _ in range(copies - 1))],
        level.to(device)[None].contiguous(),
    )


def _repeated(masks: PackedMasks, times: int) -> PackedMasks:
    """The masks of the same images several times over, each time in memory of their own."""
    steps = {"bitmap_ranges": len(masks.bitmaps), "whole_ranges": len(masks.whole_concepts)}
    ranges = {name: torch.cat([getattr(masks, name) + i * step for i in range(times)]) for name, step in steps.items()}
    result = masks.map(
        lambda tensor: tensor.repeat(times, *(1 for _ in tensor.shape[1:])),
        ("annotated", "bitmap_concepts", "bitmap_pixels", "bitmaps", "whole_concepts"),
    )
    result.bitmap_ranges, result.whole_ranges = ranges["bitmap_ranges"], ranges["whole_ranges"]
    return result


def _without_masks(masks: PackedMasks) -> PackedMasks:
    """The same images, which carry no concept."""
    return masks.map(torch.zeros_like, ("bitmap_ranges", "whole_ranges"))


def _read(values: Tensor) -> Tensor:
    """Goes over all values once and keeps next to nothing; as integers, which nothing has to be done about."""
    return values.view(torch.int32 if values.element_size() == 4 else torch.int16).amax()


def _copying(stream: _Stream) -> Callable[[], object]:
    target = torch.empty_like(stream.acts[0])
    return lambda: [target.copy_(acts) for acts in stream.acts]


def _compiled(acts: Tensor, masks: Tensor, threshold: Tensor) -> Callable[[], object] | None:
    function = torch.compile(plain_torch_of_all, dynamic=False)
    try:
        function(acts, masks, threshold)
    except Exception:  # whatever the compiler lacks on this machine
        return None
    return lambda: function(acts, masks, threshold)


def _counting(name: str, stream: _Stream, threshold: Tensor, masks: Sequence[PackedMasks]) -> Callable[[], object]:
    backend = load_backend(name)
    units = stream.acts[0].shape[1]
    sums = Sums.zeros(1, units, masks[0].num_concepts, len(masks[0].categories), threshold.device)
    batches = [
        CountArguments(acts, mask, threshold, "half_pixel", nonfinite_off=False)
        for acts, mask in zip(stream.acts, masks, strict=True)
    ]
    return lambda: [backend.count(batch, sums) for batch in batches]


def _in_turn(
    sides: dict[tuple[str, ...], Callable[[], object]],
    device: torch.device,
    rounds: int,
    done: Callable[[int], None],
) -> dict[tuple[str, ...], list[float]]:
    def timed(work: Callable[[], object]) -> float:
        if device.type != "cuda":
            return seconds(work)
        begun: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        ended: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        begun.record()
        work()
        ended.record()
        ended.synchronize()
        return float(begun.elapsed_time(ended)) / 1000

    for _ in range(_WARM_UP):
        for work in sides.values():
            timed(work)
    return interleaved({key: partial(timed, work) for key, work in sides.items()}, rounds, done)
