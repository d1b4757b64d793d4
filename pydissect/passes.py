"""The passes of a dissection over its data: one that keeps what can still matter, or two that keep nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from .backends import choose_backend
from .candidate_store import CandidateStore
from .counts import check_union
from .dissection import LayerDissection
from .errors import InputError
from .extras import needs
from .forward import DTYPES, Forward
from .grids import Grid
from .mask_feed import MaskFeed
from .masks import PackedMasks
from .nonfinite import check_policy
from .one_pass import OnePass
from .per_image import PerImageCounts
from .progress import Progress
from .sources import Source
from .tally import Tally
from .thresholds import Quantiles, ThresholdFinder, check_quantile
from .top_images import TopImages


@dataclass(frozen=True)
class Settings:
    """What is computed of the activations; checked.

    Raises:
        InputError: one is wrong.
    """

    quantile: Quantiles
    iou_threshold: float
    union: str
    grid: Grid
    dtype: str
    nonfinite: str
    backend: str
    top_images: int
    per_image: bool

    def __post_init__(self) -> None:
        quantiles, _ = check_quantile(self.quantile)
        if len({Fraction(str(value)) for value in quantiles}) < len(quantiles):
            raise InputError(f"quantile: expected each once, found {', '.join(map(str, quantiles))}")
        if not 0 <= self.iou_threshold <= 1:
            raise InputError(f"iou_threshold: expected a number from 0 to 1, found {self.iou_threshold!r}")
        check_union(self.union)
        if self.dtype not in DTYPES:
            raise InputError(f"dtype: expected {', '.join(DTYPES)}, found {self.dtype!r}")
        check_policy(self.nonfinite)
        if self.per_image:
            needs("pyarrow", "parquet")


class Found(NamedTuple):
    """What a pass has found of a layer before it is counted: its thresholds, and its units' top images."""

    thresholds: Tensor
    top: TopImages


class Kept(NamedTuple):
    """What the only pass leaves: each layer's activations, as far as they matter, what it found, and all masks."""

    ones: Mapping[str, OnePass]
    found: Mapping[str, Found]
    masks: Sequence[PackedMasks]  # of each batch


def find(one: OnePass) -> Found:
    """The thresholds and the top images of a layer of which all activations have been seen.

    Raises:
        InputError: there were fewer than there were to be.
    """
    thresholds = one.thresholds()
    assert one.top is not None
    return Found(thresholds, one.top)


class Keeping:
    """What one pass keeps of each layer's activations, while they go by.

    Args:
        shapes: ``(U, h, w)`` of each layer.
        settings: of what is computed.
        images: of the whole dataset; None if that is not known.
        at_most: there may be fewer.
        store: for the candidates.
        image_name: of the image of a number, for errors.

    Attributes:
        ones: of each layer.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int, int]],
        settings: Settings,
        *,
        images: int | None,
        at_most: bool,
        store: CandidateStore,
        image_name: Callable[[int], str],
    ) -> None:
        self._settings = settings
        self._image_name = image_name
        self.ones = {
            name: OnePass(
                None if images is None else images * h * w,
                settings.quantile,
                at_most=at_most,
                top_images=settings.top_images,
                store=store,
                layer=name,
                backend=settings.backend,
            )
            for name, (_, h, w) in shapes.items()
        }

    def add(self, acts: Mapping[str, Tensor]) -> None:
        """Takes up a batch of each layer's activations.

        Raises:
            InputError: a non-finite activation, or no room for what must be kept.
        """
        for name, one in self.ones.items():
            one.update(acts[name])
            # On a GPU the check would wait for the device at every batch.
            if acts[name].device.type == "cpu":
                check_finite(name, one.finder, self._settings, self._image_name)

    def check(self) -> None:
        """Raises an InputError if there was a non-finite activation."""
        for name, one in self.ones.items():
            check_finite(name, one.finder, self._settings, self._image_name)


def check_finite(
    layer: str, finder: ThresholdFinder | None, settings: Settings, image_name: Callable[[int], str]
) -> None:
    """Raises an InputError if a finder has seen a non-finite activation, unless these are to count as off."""
    if settings.nonfinite == "off" or finder is None:
        return
    first = finder.first_nonfinite()
    if first is not None:
        image, unit = first
        raise InputError(
            f"layer {layer!r}: unit {unit} has a non-finite activation (NaN, infinite or of magnitude 2^126 or "
            f"more) on image {image_name(image)}; nonfinite 'off' counts such values as off"
        )


class Passes:
    """The passes over a source's images.

    Args:
        source: of images and masks.
        settings: of what is computed.
        device: of the counting.
        progress: told of every batch.
    """

    def __init__(self, source: Source, settings: Settings, device: torch.device, progress: Progress) -> None:
        self._source = source
        self._settings = settings
        self._device = device
        self._progress = progress

    def keep(self, forward: Forward, store: CandidateStore) -> Kept:
        """The only pass.

        Raises:
            InputError: a non-finite activation, or no room for what must be kept.
        """
        keeping = Keeping(
            forward.shapes,
            self._settings,
            images=self._source.most_images,
            at_most=self._source.num_images is None,
            store=store,
            image_name=self._source.image_name,
        )
        kept = []
        for acts, masks in self._batches(forward, "running the model"):
            keeping.add(acts)
            kept.append(masks)
        found = {name: find(one) for name, one in keeping.ones.items()}
        # After the thresholds: of an unknown number of images, there is no finder before.
        keeping.check()
        return Kept(keeping.ones, found, [self._source.settled(masks) for masks in kept])

    def count_kept(self, kept: Kept) -> dict[str, LayerDissection]:
        """Counts what the only pass has kept."""
        counting = self._counting(kept.found)
        feed = self._feed()
        total, done = self._source.num_images, 0
        replays = {name: one.replay() for name, one in kept.ones.items()}
        self._progress("counting", done, total)
        for batch, on_device in feed.ahead(kept.masks):
            for name, replay in replays.items():
                for begin, end, acts in _of_batch(replay, len(batch)):
                    counting.add(name, acts, on_device[begin:end], done + begin)
            counting.add_masks(batch)
            batch.release()
            done += len(batch)
            self._progress("counting", done, total)
        return counting.results({name: one.shape for name, one in kept.ones.items() if one.shape is not None})

    def thresholds(self, forward: Forward) -> dict[str, Found]:
        """The first of two passes."""
        settings, images = self._settings, self._source.num_images
        assert images is not None
        finders, tops = {}, {}
        for name, (units, h, w) in forward.shapes.items():
            finders[name] = ThresholdFinder(images * h * w, settings.quantile, backend=settings.backend)
            tops[name] = TopImages(settings.top_images, units)
        backend, done = choose_backend(settings.backend, self._device), 0
        for acts, masks in self._batches(forward, "finding thresholds"):
            for name, finder in finders.items():
                finder.update(acts[name])
                if self._device.type == "cpu":
                    check_finite(name, finder, settings, self._source.image_name)
                bound = tops[name].bound().to(self._device)
                _, peaks = backend.sift(acts[name], torch.full_like(bound, torch.inf), bound)
                tops[name].update(peaks, done)
            done += len(masks)
        for name, finder in finders.items():
            check_finite(name, finder, settings, self._source.image_name)
        return {name: Found(finder.compute(), tops[name]) for name, finder in finders.items()}

    def count(self, forward: Forward, found: Mapping[str, Found]) -> dict[str, LayerDissection]:
        """The second of two passes."""
        counting, done = self._counting(found), 0
        feed = self._feed()
        for acts, masks in self._batches(forward, "counting", feed):
            counting.add_masks(masks)
            on_device = feed.take()
            for name in forward.shapes:
                counting.add(name, acts[name], on_device, done)
            done += len(masks)
        return counting.results(forward.shapes)

    def _feed(self) -> MaskFeed:
        return MaskFeed(self._device, self._source.resident_masks(self._device))

    def _counting(self, found: Mapping[str, Found]) -> "_Counting":
        return _Counting(self._source, self._settings, found)

    def _batches(
        self, forward: Forward, stage: str, feed: MaskFeed | None = None
    ) -> Iterator[tuple[dict[str, Tensor], PackedMasks]]:
        """Activations of each layer, and the masks as the source has them, which also go to the feed."""
        done, total = 0, self._source.most_images
        self._progress(stage, done, total)
        for images, masks in self._source.batches():
            if feed is not None:
                feed.send(masks, done)
            yield forward(images), masks
            masks.release()
            done += len(images)
            self._progress(stage, done, total)


def _of_batch(replay: Iterator[tuple[int, Tensor]], images: int) -> Iterator[tuple[int, int, Tensor]]:
    """What a replay has of the next so many images: first and last image of the batch, and activations."""
    done = 0
    while done < images:
        _, acts = next(replay)
        yield done, done + len(acts), acts
        done += len(acts)


class _Counting:
    """The counts of all layers."""

    def __init__(self, source: Source, settings: Settings, found: Mapping[str, Found]) -> None:
        self._source = source
        self._settings = settings
        self._found = found
        self._tallies = {
            name: Tally(
                layer.thresholds,
                len(source.concepts),
                source.categories,
                grid=settings.grid,
                nonfinite=settings.nonfinite,
                backend=settings.backend,
            )
            for name, layer in found.items()
        }
        self._per_image = {
            name: PerImageCounts(layer.thresholds, settings.grid, settings.backend)
            for name, layer in found.items()
            if settings.per_image
        }
        self._concept_images = torch.zeros(len(source.concepts), dtype=torch.int64)

    def add(self, layer: str, acts: Tensor, masks: PackedMasks, first_image: int) -> None:
        """Counts a batch of a layer."""
        self._tallies[layer].update(acts, masks)
        if layer in self._per_image:
            self._per_image[layer].update(acts, masks, first_image)

    def add_masks(self, masks: PackedMasks) -> None:
        """Counts a batch's images that carry each concept."""
        self._concept_images += masks.concept_images().cpu()

    def results(self, shapes: Mapping[str, tuple[int, int, int]]) -> dict[str, LayerDissection]:
        """The result of each layer, of maps ``(U, h, w)``; of several quantiles, of each layer at each."""
        quantiles, several = check_quantile(self._settings.quantile)
        results = {}
        for name, (thresholds, top) in self._found.items():
            _, h, w = shapes[name]
            counts = self._tallies[name].to("cpu").compute()
            per_image = self._per_image.get(name)
            for level, quantile in enumerate(quantiles):
                at = f"{name}@{quantile}" if several else name
                results[at] = LayerDissection(
                    layer=at,
                    map_size=(h, w),
                    thresholds=(thresholds[level] if several else thresholds).cpu(),
                    counts=counts.level(level) if several else counts,
                    concept_images=self._concept_images,
                    concepts=self._source.concepts,
                    union=self._settings.union,
                    iou_threshold=self._settings.iou_threshold,
                    top=top,
                    per_image=per_image.level(level) if per_image is not None else None,
                    image_name=self._source.image_name,
                )
        return results
