"""What every checkpoint of a scan has in common: how it is dissected, and by how much of the machine."""

from dataclasses import dataclass, replace
from typing import Any

from ..backends import choose_backend
from ..devices import usable_device
from ..errors import InputError
from ..grids import Grid, check_grid
from ..normalize import Normalization
from ..passes import Settings as PassSettings
from ..pipeline import BATCH_SIZE
from ..scores import IOU_THRESHOLD
from ..thresholds import check_quantile


@dataclass(frozen=True)
class Settings:
    """The arguments of :func:`pydissect.dissect`, named as there; and what else a worker is told.

    Attributes:
        threads: of the model and the counting, and as many that decode pictures.
        unsafe_weights: unpickle whatever the files of weights hold.
        counts: keep the integers behind the IoU of every checkpoint.
    """

    quantile: float = 0.005
    iou_threshold: float = IOU_THRESHOLD
    union: str = "category"
    grid: Grid = "half_pixel"
    normalize: str = "imagenet"
    input_size: tuple[int, int] | None = None
    limit: int | None = None
    dtype: str = "fp32"
    nonfinite: str = "error"
    batch_size: int = BATCH_SIZE
    device: str = "cpu"
    backend: str = "auto"
    threads: int = 1
    unsafe_weights: bool = False
    counts: bool = False

    def check(self) -> None:
        """Refuses, before any work, what would fail for every checkpoint.

        Raises:
            InputError: it names the argument, what was expected and what was found.
        """
        if check_quantile(self.quantile)[1]:
            raise InputError(f"quantile: expected one number, found {self.quantile!r}")
        PassSettings(
            quantile=self.quantile,
            iou_threshold=self.iou_threshold,
            union=self.union,
            grid=check_grid(self.grid),
            dtype=self.dtype,
            nonfinite=self.nonfinite,
            backend=self.backend,
            top_images=0,
            per_image=False,
        )
        Normalization.parse(self.normalize)
        choose_backend(self.backend, usable_device(self.device))

    def meaning(self) -> dict[str, Any]:
        """Those that say what is computed, not how: a result with the same ones is not computed again."""
        return {
            "quantile": float(self.quantile),
            "iou_threshold": float(self.iou_threshold),
            "union": self.union,
            "grid": str(self.grid),
            "normalize": str(Normalization.parse(self.normalize)),
            "input_size": None if self.input_size is None else list(self.input_size),
            "limit": self.limit,
            "dtype": self.dtype,
            "nonfinite": self.nonfinite,
        }

    def with_threads(self, threads: int) -> "Settings":
        """The same for so many threads."""
        return replace(self, threads=threads)

    def arguments(self) -> dict[str, Any]:
        """For :func:`pydissect.dissect`."""
        return {
            "quantile": self.quantile,
            "iou_threshold": self.iou_threshold,
            "union": self.union,
            "grid": self.grid,
            "normalize": self.normalize,
            "input_size": self.input_size,
            "limit": self.limit,
            "dtype": self.dtype,
            "nonfinite": self.nonfinite,
            "batch_size": self.batch_size,
            "device": self.device,
            "backend": self.backend,
            "workers": self.threads,
            "top_images": 0,
        }
