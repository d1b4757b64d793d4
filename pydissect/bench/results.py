"""What was measured, and the JSON file that keeps it."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from ..errors import InputError
from ..files import atomic_write
from .machine import Machine

FORMAT = 1
"""The version of the file."""

Record = TypeVar("Record")


@dataclass(frozen=True)
class Settings:
    """How it was measured.

    Attributes:
        quick: too little data and too few rounds for numbers to quote.
        rounds: in which the sides took turns.
        threads: what "all threads" means.
        stream_bytes: the least that counting streams.
        pages: asked for, ``huge`` or ``small``.
        runs: of a side of counting each time its turn comes, where only the best counts.
    """

    quick: bool
    rounds: int
    threads: int
    stream_bytes: int
    pages: str
    runs: int


@dataclass(frozen=True)
class CountingRow:
    """Our counting in one format, with one instruction set, on some threads.

    Ratios are medians over the rounds of the ratio within a round.

    Attributes:
        share_of_read: of the bandwidth at which as many threads read the same buffer.
        times_plain_torch: as many maps a second as plain torch on all threads.
        times_older_loop: as many maps a second as the older loop on one thread.
        scaling: speed over that of one thread; None in the rows of one thread.
    """

    format: str
    level: str
    threads: int
    maps_per_second: float
    bytes_per_second: float
    share_of_read: float
    times_plain_torch: float
    times_older_loop: float
    scaling: float | None


@dataclass(frozen=True)
class Speed:
    """A speed on some threads."""

    threads: int
    per_second: float


@dataclass(frozen=True)
class CountingResult:
    """Counting of one size.

    Attributes:
        name: of the workload, or of the network's layer.
        shape: ``[N, U, h, w]`` of a batch.
        source: where the density is from, or which network and data.
        live_maps: share of the maps with a value above the threshold.
        live_cells: share of the 2 x 2 cells of values.
        masks: an image, on average.
        mask_size: ``[H, W]``.
        map_bytes: of an fp32 map.
        huge_share: of the buffers' memory, the least of them, that came to lie on huge pages.
        read: bandwidth, bytes a second.
        plain_torch: maps a second, all threads.
        older_loop: maps a second, one thread.
        rows: ours.
    """

    name: str
    shape: list[int]
    source: str
    live_maps: float
    live_cells: float
    masks: float
    mask_size: list[int]
    map_bytes: int
    huge_share: float
    read: list[Speed]
    plain_torch: Speed
    older_loop: Speed
    rows: list[CountingRow]


@dataclass(frozen=True)
class ThresholdRow:
    """Exact thresholds, streaming, against gathering the values and ``torch.topk``, as many threads each.

    Attributes:
        order: of the images, ``natural`` or ``sorted``.
        bytes_per_second: ours.
        times_topk: the ratio of the speeds.
        bytes_held: ours, when all was seen.
        topk_bytes_held: the gathered values.
    """

    name: str
    shape: list[int]
    order: str
    threads: int
    bytes_per_second: float
    topk_bytes_per_second: float
    times_topk: float
    bytes_held: int
    topk_bytes_held: int


@dataclass(frozen=True)
class PackingRow:
    """Packing against ``np.packbits`` of each concept, which takes one thread.

    Attributes:
        masks_per_second: non-empty masks made.
        bytes_per_second: of the input.
    """

    name: str
    shape: list[int]
    threads: int
    masks_per_second: float
    bytes_per_second: float
    times_numpy: float


@dataclass(frozen=True)
class DeviceRow:
    """Counting, and thresholds, by one backend on a device, in one format.

    Attributes:
        share_of_read: of the bandwidth at which the device reads the same activations.
        share_of_copy: of that at which it copies them, read and written bytes together.
        times_plain_torch: as many maps a second as plain torch on the device.
        times_compiled_torch: as many as its ``torch.compile``d version; None where that failed.
        scan_share: of the time, that counting takes where no value is above its threshold: reading and comparing.
        interpolate_share: of the time, that is added where images carry no mask: finding the pixels above it.
        thresholds_share_of_read: of the bandwidth of reading, at which exact thresholds of the same activations are
            found, all batches from the first on.
    """

    backend: str
    format: str
    maps_per_second: float
    bytes_per_second: float
    share_of_read: float
    share_of_copy: float
    times_plain_torch: float
    times_compiled_torch: float | None
    scan_share: float
    interpolate_share: float
    thresholds_share_of_read: float


@dataclass(frozen=True)
class DeviceResult:
    """Counting of one size on a device.

    Attributes:
        device: its name, compute capability and memory.
        name: of the workload.
        versions: of each backend and what it was built for.
        shape: ``[N, U, h, w]`` of an fp32 batch.
        stream_bytes: of activations that lie in its memory, more than its caches hold.
        live_maps: share of the maps with a value above the threshold.
        live_cells: share of the 2 x 2 cells of values.
        read_bytes_per_second: bandwidth of reading them.
        copy_bytes_per_second: bandwidth of copying them, read and written bytes together.
        plain_torch: maps a second.
        compiled_torch: maps a second, or None where ``torch.compile`` failed.
        rows: ours.
    """

    device: str
    name: str
    versions: list[str]
    shape: list[int]
    stream_bytes: int
    live_maps: float
    live_cells: float
    read_bytes_per_second: float
    copy_bytes_per_second: float
    plain_torch: float
    compiled_torch: float | None
    rows: list[DeviceRow]


@dataclass(frozen=True)
class Report:
    """A run of the benchmark."""

    machine: Machine
    settings: Settings
    counting: list[CountingResult] = field(default_factory=list)
    thresholds: list[ThresholdRow] = field(default_factory=list)
    packing: list[PackingRow] = field(default_factory=list)
    devices: list[DeviceResult] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes a JSON file."""
        with atomic_write(path) as file:
            file.write(json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Reads what :meth:`save` wrote.

        Raises:
            InputError: no such file, not such a file, or one of a newer version.
        """
        try:
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"{path}: expected JSON, found {error}") from None
        if not isinstance(values, dict) or not isinstance(values.get("format"), int):
            raise InputError(f"{path}: expected results of pydissect bench, found no 'format'")
        if values.pop("format") > FORMAT:
            raise InputError(f"{path}: its format is newer than {FORMAT}, the newest that this pydissect knows")
        if isinstance(values.get("settings"), dict):
            values["settings"] = {"runs": 1, **values["settings"]}
        return _read(cls, {"devices": [], **values}, str(path))


def _read(record: type[Record], values: object, place: str) -> Record:
    """A dataclass from what ``dataclasses.asdict`` and JSON made of it."""
    if not isinstance(values, Mapping):
        raise InputError(f"{place}: expected an object, found {values!r:.60}")
    types = get_type_hints(record)
    if missing := types.keys() - values.keys():
        raise InputError(f"{place}: no {sorted(missing)[0]!r}")
    if extra := values.keys() - types.keys():
        raise InputError(f"{place}: unknown {sorted(extra)[0]!r}")
    return record(**{name: _value(kind, values[name], f"{place}: {name}") for name, kind in types.items()})


def _value(kind: Any, value: Any, place: str) -> Any:
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise InputError(f"{place}: expected a list, found {value!r:.60}")
        return [_value(get_args(kind)[0], entry, f"{place}[{i}]") for i, entry in enumerate(value)]
    if dataclasses.is_dataclass(kind):
        return _read(cast("type[Any]", kind), value, place)
    allowed = get_args(kind) or (kind,)
    if float in allowed and type(value) is int:
        return float(value)
    if type(value) not in allowed:
        raise InputError(f"{place}: expected {kind}, found {value!r:.60}")
    return value
