from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

class Acts:
    def __init__(self, address: int, dtype: int, shape: Sequence[int], strides: Sequence[int]) -> None: ...

class Masks:
    def __init__(
        self,
        bitmap_ranges: int,
        bitmap_concepts: int,
        bitmaps: int,
        whole_ranges: int,
        whole_concepts: int,
        annotated: int,
        concepts: int,
        categories: int,
        max_bitmaps: int,
    ) -> None: ...

def count(
    acts: Acts,
    masks: Masks,
    row_index: npt.NDArray[np.int32],
    row_fraction: npt.NDArray[np.float32],
    column_index: npt.NDArray[np.int32],
    column_fraction: npt.NDArray[np.float32],
    thresholds: int,
    levels: int,
    nonfinite_off: bool,
    threads: int,
    level_cap: str,
    intersection: int,
    unit_area: int,
    unit_area_all: int,
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
def pack_labels(
    labels: npt.NDArray[np.int32], lookup: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.uint16], int | None]: ...
def pack_bool(masks: int, count: int, H: int, W: int, threads: int, bitmaps: int, pixels: int) -> None: ...
def unpack(bitmaps: int, count: int, H: int, W: int, masks: int) -> None: ...
def read_seconds(data: int, bytes: int, threads: int, runs: int) -> float: ...
def round_to_float(source: int, count: int, target: int) -> None: ...
def levels() -> list[str]: ...
