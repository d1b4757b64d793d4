"""Dissecting a network: model and data in, the labels of every unit out."""

import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .backends import choose_backend
from .broden import Broden
from .capture import LayerCapture
from .counts import check_union
from .devices import usable_device
from .dissection import Dissection, LayerDissection
from .errors import InputError
from .grids import Grid, check_grid
from .layers import find_layers
from .mask_feed import MaskFeed
from .masks import PackedMasks
from .memory_format import channels_last_pays
from .nonfinite import check_policy
from .normalize import Normalization
from .parallel import default_workers
from .progress import Progress, silent
from .scores import IOU_THRESHOLD
from .sources import BrodenSource, IterableSource, Source
from .tally import Tally
from .thresholds import ThresholdFinder, check_quantile

BATCH_SIZE = 32
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def dissect(
    model: nn.Module,
    data: Broden | Iterable[Any],
    layers: str | Sequence[str],
    *,
    quantile: float = 0.005,
    iou_threshold: float = IOU_THRESHOLD,
    union: str = "category",
    grid: Grid = "half_pixel",
    normalize: str = "imagenet",
    input_size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    device: str | torch.device = "cpu",
    dtype: str = "fp32",
    backend: str = "auto",
    nonfinite: str = "error",
    concepts: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Dissection:
    """Labels every unit of some layers with the visual concept it detects.

    Two passes over the data: the first finds each unit's threshold, exactly, the second counts
    (Bau et al. 2017, section 2.2). Every forward pass ends after the last of the layers.
    Activations are never stored.

    Args:
        model: the network; it gets one argument, the images. It is moved to ``device``, and
            to channels-last if it has 2-D convolutions; in eval mode meanwhile.
        data: a :class:`Broden`, or any iterable of batches ``(images, masks)`` that can be iterated
            again (three times: to count images, then for the two passes): images ``[B, 3, H, W]``
            floating-point, as the model takes them; masks ``PackedMasks``, bool ``[B, C, H, W]`` or
            integer label maps ``[B, H, W]``.
        layers: dotted names of modules, one or several.
        quantile: share of a unit's activations above its threshold, in (0, 1).
        iou_threshold: a unit whose best IoU exceeds it is a detector.
        union: ``"category"`` or ``"all"``, see :func:`fast_iou`.
        grid: see :func:`fast_iou`.
        normalize: of the pictures of a ``Broden``: ``"none"``, ``"imagenet"``, ``"caffe"`` or
            ``"M,M,M/S,S,S"``; see :meth:`Normalization.parse`.
        input_size: height and width to which the pictures of a ``Broden`` are resized (one number:
            square); without it, those of the dataset.
        limit: the first so many images only.
        batch_size: images a forward pass, for a ``Broden``.
        workers: threads that decode the pictures of a ``Broden``; without it, one a processor, at most 8.
        device: for the model and the counting.
        dtype: ``"fp16"`` or ``"bf16"`` run the model in mixed precision (``torch.autocast``), ``"fp32"`` as it is.
        backend: see :func:`fast_iou`.
        nonfinite: see :func:`fast_iou`.
        concepts: names of an iterable's concepts.
        categories: the category's name of each of an iterable's concepts.
        progress: called with the stage, the images done and the images in all.

    Returns:
        The tables and counts of each layer; ``.save(folder)`` writes them.

    Raises:
        InputError: a wrong argument, dataset or model, or a non-finite activation.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    settings = _Settings(quantile, iou_threshold, union, check_grid(grid), dtype, nonfinite, backend)
    device = usable_device(device)
    normalization = Normalization.parse(normalize)
    _check_number("batch_size", batch_size, 1)
    _check_number("limit", limit, 1)
    _check_number("workers", workers, 0)
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    for side in size or ():
        _check_number("input_size", side, 1)
    find_layers(model, names)
    backend_name = choose_backend(backend, device).name
    clock = _Clock()

    with clock("masks"):
        source: Source
        if isinstance(data, Broden):
            source = BrodenSource(
                data,
                normalization=normalization,
                input_size=size,
                limit=limit,
                batch_size=batch_size,
                workers=default_workers() if workers is None else workers,
                progress=progress,
            )
        else:
            source = IterableSource(data, concepts=concepts, categories=categories, limit=limit)

    channels_last = channels_last_pays(model)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    run = _Run(source, names, settings, device, memory_format, progress)
    with ExitStack() as stack:
        with run.precision():
            capture = stack.enter_context(LayerCapture(model, names, run.example()))
        with clock("thresholds"):
            thresholds = run.thresholds(capture)
        with clock("counting"):
            results = run.count(capture, thresholds)

    facts = {
        "images": source.num_images,
        "concepts": len(source.concepts),
        "categories": list(source.categories.names),
        "layers": {name: [len(thresholds[name]), *capture.shapes[name][1:]] for name in names},
        "settings": {
            "quantile": float(quantile),
            "iou_threshold": iou_threshold,
            "union": union,
            "grid": str(grid),
            "dtype": dtype,
            "nonfinite": nonfinite,
            "normalize": str(normalization) if isinstance(data, Broden) else None,
            "batch_size": batch_size if isinstance(data, Broden) else None,
        },
        "device": str(device),
        "backend": backend_name,
        "memory_format": "channels_last" if channels_last else "contiguous",
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "seconds": clock.seconds,
    }
    return Dissection(results, facts)


def _check_number(name: str, value: int | None, low: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < low):
        raise InputError(f"{name}: expected a whole number, {low} or more, found {value!r}")


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on."""
    from . import __version__

    return {
        "pydissect": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


@dataclass(frozen=True)
class _Settings:
    quantile: float
    iou_threshold: float
    union: str
    grid: Grid
    dtype: str
    nonfinite: str
    backend: str

    def __post_init__(self) -> None:
        if check_quantile(self.quantile)[1]:
            raise InputError(f"quantile: expected one number, found {self.quantile!r}")
        if not 0 <= self.iou_threshold <= 1:
            raise InputError(f"iou_threshold: expected a number from 0 to 1, found {self.iou_threshold!r}")
        check_union(self.union)
        if self.dtype not in DTYPES:
            raise InputError(f"dtype: expected {', '.join(DTYPES)}, found {self.dtype!r}")
        check_policy(self.nonfinite)


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - begin, 3)


class _Run:
    """The two passes."""

    def __init__(
        self,
        source: Source,
        names: Sequence[str],
        settings: _Settings,
        device: torch.device,
        memory_format: torch.memory_format,
        progress: Progress,
    ) -> None:
        self._source = source
        self._names = names
        self._settings = settings
        self._device = device
        self._memory_format = memory_format
        self._progress = progress

    def precision(self) -> torch.autocast:
        """That in which the model runs. It alone: nothing of what is counted may be rounded."""
        dtype = DTYPES[self._settings.dtype]
        return torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32)

    def example(self) -> Tensor:
        """The first image, for the capture to try the model on."""
        batches = self._source.batches()
        images, _ = next(batches)
        batches.close()  # type: ignore[attr-defined]
        return self._prepare(images[:1])

    def thresholds(self, capture: LayerCapture) -> dict[str, Tensor]:
        """The first pass: ``[U]`` thresholds of each layer."""
        images = self._source.num_images
        finders = {}
        for name in self._names:
            _, h, w = capture.shapes[name]
            finders[name] = ThresholdFinder(images * h * w, self._settings.quantile, backend=self._settings.backend)
        for acts, _ in self._batches(capture, "finding thresholds"):
            for name, finder in finders.items():
                finder.update(acts[name])
                # On a GPU the check would wait for the device at every batch.
                if self._settings.nonfinite == "error" and self._device.type == "cpu":
                    self._check_finite(name, finder)
        if self._settings.nonfinite == "error":
            for name, finder in finders.items():
                self._check_finite(name, finder)
        return {name: finder.compute() for name, finder in finders.items()}

    def count(self, capture: LayerCapture, thresholds: Mapping[str, Tensor]) -> dict[str, LayerDissection]:
        """The second pass."""
        source, settings = self._source, self._settings
        tallies = {
            name: Tally(
                thresholds[name],
                len(source.concepts),
                source.categories,
                grid=settings.grid,
                nonfinite=settings.nonfinite,
                backend=settings.backend,
            )
            for name in self._names
        }
        concept_images = torch.zeros(len(source.concepts), dtype=torch.int64)
        feed = MaskFeed(self._device)
        for acts, masks in self._batches(capture, "counting", feed):
            concept_images += masks.concept_images().cpu()
            masks = feed.take()
            for name, tally in tallies.items():
                tally.update(acts[name], masks)
        results = {}
        for name, tally in tallies.items():
            _, h, w = capture.shapes[name]
            results[name] = LayerDissection(
                name,
                (h, w),
                thresholds[name].cpu(),
                tally.to("cpu").compute(),
                concept_images,
                source.concepts,
                settings.union,
                settings.iou_threshold,
            )
        return results

    def _batches(
        self, capture: LayerCapture, stage: str, feed: MaskFeed | None = None
    ) -> Iterator[tuple[dict[str, Tensor], PackedMasks]]:
        """Activations of each layer, and the masks as the source has them, which also go to the feed."""
        done = 0
        self._progress(stage, done, self._source.num_images)
        for images, masks in self._source.batches():
            if feed is not None:
                feed.send(masks)
            with self.precision():
                acts = capture(self._prepare(images))
            yield acts, masks
            masks.release()
            done += len(images)
            self._progress(stage, done, self._source.num_images)

    def _prepare(self, images: Tensor) -> Tensor:
        return images.to(self._device, non_blocking=True).contiguous(memory_format=self._memory_format)

    def _check_finite(self, layer: str, finder: ThresholdFinder) -> None:
        first = finder.first_nonfinite()
        if first is not None:
            image, unit = first
            raise InputError(
                f"layer {layer!r}: unit {unit} has a non-finite activation (NaN, infinite or of magnitude 2^126 or "
                f"more) on image {self._source.image_name(image)}; nonfinite 'off' counts such values as off"
            )
