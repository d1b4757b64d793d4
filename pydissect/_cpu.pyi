from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Address, dtype (DTYPE_NUMBERS), shape, strides in elements.
Acts = tuple[int, int, Sequence[int], Sequence[int]]

class Geometry:
    def __init__(
        self,
        row_index: npt.NDArray[np.int32],
        row_fraction: npt.NDArray[np.float32],
        column_index: npt.NDArray[np.int32],
        column_fraction: npt.NDArray[np.float32],
        h: int,
        w: int,
    ) -> None: ...

def count(
    acts: Acts,
    masks: tuple[int, int, int, int, int, int, int, int, int],
    geometry: Geometry,
    thresholds: int,
    levels: int,
    nonfinite_off: bool,
    threads: int,
    level_cap: str,
    intersection: int,
    unit_area: int,
    unit_area_all: int,
    concept_area: int,
) -> int: ...
def select(
    acts: Acts,
    values: int,
    fill: int,
    bound: int,
    capacity: int,
    keep: int,
    threads: int,
    level_cap: str,
) -> int: ...

class Wanted:
    def __init__(self, bits: int, shape: tuple[int, int, int, int]) -> None: ...
    @staticmethod
    def words(units: int, h: int, w: int) -> int: ...

class Candidates:
    def __init__(self, offsets: int, places: int, values: int, dtype: int) -> None: ...

def sift(
    acts: Acts,
    bound: int,
    peak_bound: int,
    threads: int,
    level_cap: str,
    wanted: Wanted,
    counts: int,
    peaks: int,
    peak_places: int,
) -> None: ...
def gather(acts: Acts, wanted: Wanted, offsets: int, threads: int, places: int, values: int) -> None: ...
def mark(candidates: Candidates, bound: int, threads: int, wanted: Wanted, counts: int) -> None: ...
def keep(candidates: Candidates, wanted: Wanted, offsets: int, threads: int, places: int, values: int) -> None: ...
def spread(candidates: Candidates, images: int, image_values: int, threads: int, acts: int) -> None: ...
def values_of_ranks(
    values: int,
    fill: int,
    bound: int,
    units: int,
    capacity: int,
    keep: int,
    ranks: list[int],
    threads: int,
    level_cap: str,
    result: int,
) -> None: ...

class PackedImages:
    @property
    def bitmap_offsets(self) -> npt.NDArray[np.int64]: ...
    @property
    def concepts(self) -> npt.NDArray[np.int32]: ...
    @property
    def pixels(self) -> npt.NDArray[np.int32]: ...
    @property
    def bitmaps(self) -> npt.NDArray[np.uint16]: ...
    @property
    def whole_offsets(self) -> npt.NDArray[np.int64]: ...
    @property
    def whole(self) -> npt.NDArray[np.int32]: ...

def pack_bool(
    masks: int, shape: Sequence[int], strides: Sequence[int], threads: int, level_cap: str
) -> PackedImages: ...
def pack_labels(
    maps: int,
    type: int,
    shape: Sequence[int],
    strides: Sequence[int],
    ignored: int | None,
    first: int,
    count: int,
    concepts: npt.NDArray[np.int32] | None,
    whole: Sequence[int],
    threads: int,
    level_cap: str,
) -> tuple[PackedImages, int, int]: ...
def unpack(bitmaps: int, planes: int, count: int, H: int, W: int, threads: int, masks: int) -> None: ...
def read_seconds(data: int, bytes: int, threads: int, runs: int) -> float: ...
def round_to_float(source: int, count: int, target: int) -> None: ...
def environment_cap() -> str: ...
def level_names() -> list[str]: ...
def levels() -> list[str]: ...
def cuda_arguments(fields: dict[str, int]) -> bytes: ...
def cuda_select_arguments(fields: dict[str, int]) -> bytes: ...
