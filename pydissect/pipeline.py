"""Dissecting a network: model and data in, the labels of every unit out."""

import platform
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from .backends import choose_backend
from .broden import Broden
from .candidate_store import CandidateStore
from .defaults import BATCH_SIZE as BATCH_SIZE
from .defaults import IOU_THRESHOLD, TOP_IMAGES
from .devices import usable_device
from .dissection import Dissection
from .errors import InputError
from .forward import forward
from .grids import Grid, check_grid
from .layers import find_layers
from .normalize import Normalization
from .parallel import default_workers
from .passes import Passes, Settings
from .progress import Progress, silent
from .sources import BrodenSource, IterableSource, Source
from .stream_source import StreamSource
from .thresholds import Quantiles, check_quantile


def dissect(
    model: nn.Module,
    data: Broden | Iterable[Any],
    layers: str | Sequence[str],
    *,
    quantile: Quantiles = 0.005,
    iou_threshold: float = IOU_THRESHOLD,
    union: str = "category",
    grid: Grid = "half_pixel",
    normalize: str = "imagenet",
    input_size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    passes: int = 1,
    memory: int | None = None,
    top_images: int = TOP_IMAGES,
    per_image: bool = False,
    image_cache: bool = True,
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

    One pass over the data: of the activations, the few that can still exceed their unit's threshold are kept until
    the thresholds (Bau et al. 2017, section 2.2) are known, exactly, and then counted. Every forward pass ends after
    the last of the layers.

    Args:
        model: the network; it gets one argument, the images. It is moved to ``device``, and
            to channels-last if it has 2-D convolutions; in eval mode meanwhile.
        data: a :class:`Broden`, or any iterable of batches ``(images, masks)``: images ``[B, 3, H, W]``
            floating-point, as the model takes them; masks ``PackedMasks``, bool ``[B, C, H, W]`` or
            integer label maps ``[B, H, W]``. How many images there are must be known for the bound of the
            thresholds: of a ``Broden``, a list and a tuple it is; for others give a ``limit`` that is not exceeded,
            or all activations are kept, in memory and beyond ``memory`` in a temporary file.
        layers: dotted names of modules, one or several.
        quantile: share of a unit's activations above its threshold, in (0, 1); of several, each layer has a result
            at each, named ``LAYER@QUANTILE``.
        iou_threshold: a unit whose best IoU exceeds it is a detector.
        union: ``"category"`` or ``"all"``, see :func:`fast_iou`.
        grid: see :func:`fast_iou`.
        normalize: of the pictures of a ``Broden``: ``"none"``, ``"imagenet"``, ``"caffe"`` or
            ``"M,M,M/S,S,S"``; see :meth:`Normalization.parse`.
        input_size: height and width to which the pictures of a ``Broden`` are resized (one number:
            square); without it, those of the dataset.
        limit: the first so many images only.
        passes: 2 runs the model twice over the data, which must be iterable again, and keeps no activations; the
            results are the same.
        memory: bytes of activations kept in memory, those beyond go to a temporary file; without it, a quarter of
            the machine's memory.
        top_images: images to find for each unit, those with the largest activations.
        per_image: keep the counts of each image too, see :class:`pydissect.PerImageCounts`.
        image_cache: keep the decoded pictures of a ``Broden`` in a file beside the packed masks, for the next time.
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
    quantiles, several = check_quantile(quantile)
    settings = Settings(
        quantile, iou_threshold, union, check_grid(grid), dtype, nonfinite, backend, top_images, per_image
    )
    device = usable_device(device)
    normalization = Normalization.parse(normalize)
    _check_number("batch_size", batch_size, 1)
    _check_number("limit", limit, 1)
    _check_number("workers", workers, 0)
    _check_number("memory", memory, 0)
    _check_number("top_images", top_images, 0)
    if passes not in (1, 2):
        raise InputError(f"passes: expected 1 or 2, found {passes!r}")
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
                image_cache=image_cache,
                progress=progress,
            )
        else:
            kind = StreamSource if passes == 1 else IterableSource
            source = kind(data, concepts=concepts, categories=categories, limit=limit)

    run = Passes(source, settings, device, progress)
    with (
        forward(model, names, source.example(), device, dtype) as network,
        closing(CandidateStore(memory)) as store,
    ):
        # Before the pass: it is known then how many images there are.
        bound = "exact" if source.num_images is not None else "none" if source.most_images is None else "limit"
        if passes == 1:
            with clock("model"):
                left = run.keep(network, store)
            with clock("counting"):
                results = run.count_kept(left)
        else:
            with clock("thresholds"):
                found = run.thresholds(network)
            with clock("counting"):
                results = run.count(network, found)
        kept = {"bound": bound, "memory": store.memory, "peak": store.peak, "spilled": store.spilled}

    facts = {
        "images": source.num_images,
        "concepts": len(source.concepts),
        "categories": list(source.categories.names),
        "layers": {name: list(network.shapes[name]) for name in names},
        "settings": {
            "quantile": [float(Fraction(str(q))) for q in quantiles] if several else float(Fraction(str(quantiles[0]))),
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
        "memory_format": "channels_last" if network.memory_format is torch.channels_last else "contiguous",
        "threads": torch.get_num_threads(),
        "passes": passes,
        "candidates": kept if passes == 1 else None,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
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


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - begin, 3)
