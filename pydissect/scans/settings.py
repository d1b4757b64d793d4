"""What every checkpoint of a scan has in common: how it is dissected, and by how much of the machine."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..defaults import BATCH_SIZE, IOU_THRESHOLD
from ..errors import InputError
from ..grids import Grid, check_grid
from ..normalize import Normalization
from ..quantiles import check_quantile

if TYPE_CHECKING:
    from ..passes import Settings as PassSettings

_TOP_IMAGES = 0  # results have none


@dataclass(frozen=True)
class Settings:
    """The arguments of :func:`pydissect.dissect`, named as there; and what else a worker is told.

    Attributes:
        threads: of the model and the counting, and as many that decode pictures.
        unsafe_weights: unpickle whatever the files of weights hold.
        counts: keep the integers behind the IoU of every checkpoint.
        shards: in which the images of every checkpoint are shared out to workers.

    Raises:
        InputError: no quantile, or several; or a number that is none.
    """

    quantile: float | str | Fraction = 0.005
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
    shards: int = 1

    def __post_init__(self) -> None:
        quantiles, several = check_quantile(self.quantile)
        if several:
            raise InputError(f"quantile: expected one number, found {', '.join(map(str, quantiles))}")
        for name in ("shards", "batch_size", "limit"):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise InputError(f"{name}: expected a whole number, 1 or more, found {number!r}")

    def check(self) -> None:
        """Refuses, before any work, what would fail for every checkpoint.

        Raises:
            InputError: it names the argument, what was expected and what was found.
        """
        # With torch, which a scan that has nothing to do does not wait for.
        from ..backends import choose_backend
        from ..devices import usable_device

        self.of_passes()
        Normalization.parse(self.normalize)
        choose_backend(self.backend, usable_device(self.device))

    def meaning(self) -> dict[str, Any]:
        """Those that say what is computed, not how: a result with the same ones is not computed again."""
        return {
            "quantile": float(Fraction(str(self.quantile))),
            "iou_threshold": float(self.iou_threshold),
            "union": self.union,
            "grid": str(self.grid),
            "normalize": str(Normalization.parse(self.normalize)),
            "input_size": None if self.input_size is None else list(self.input_size),
            "limit": self.limit,
            "dtype": self.dtype,
            "nonfinite": self.nonfinite,
        }

    def devices(self) -> list[str]:
        """The device, or each GPU of this machine for ``cuda``."""
        if self.device != "cuda":
            return [self.device]
        import torch

        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]

    def of_passes(self) -> "PassSettings":
        """Those that say what is computed of the activations.

        Raises:
            InputError: one is wrong.
        """
        from ..passes import Settings as PassSettings

        return PassSettings(
            quantile=self.quantile,
            iou_threshold=self.iou_threshold,
            union=self.union,
            grid=check_grid(self.grid),
            dtype=self.dtype,
            nonfinite=self.nonfinite,
            backend=self.backend,
            top_images=_TOP_IMAGES,
            per_image=False,
        )

    def of_pictures(self) -> dict[str, Any]:
        """For :class:`pydissect.picture_batches.PictureBatches` and :class:`pydissect.sources.BrodenSource`."""
        return {
            "normalization": Normalization.parse(self.normalize),
            "input_size": self.input_size,
            "batch_size": self.batch_size,
            "workers": self.threads,
            "image_cache": True,
        }

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
            "top_images": _TOP_IMAGES,
        }
