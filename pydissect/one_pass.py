"""Exact thresholds and exact counts from a single pass over a layer's activations.

The threshold of a unit is known only when all images have been seen, but the ``(k + 1)``-th
largest activation so far never exceeds it. So while the activations go by, those that
can still matter (:mod:`pydissect.candidates`) are kept, a few in a hundred; as the bound rises, those that
no longer do are dropped. Counted when the thresholds are known, they give the same integers
as the activations themselves.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .acts import as_acts
from .backends import choose_backend, load_backend
from .candidate_store import CandidateStore
from .candidates import Candidates
from .errors import InputError
from .thresholds import Quantiles, ThresholdFinder
from .top_images import TopImages

_GROWTH = 1.5  # of what was left by the last time that candidates were dropped, until the next
_LEAST_BYTES = 2**23  # below which nothing is dropped
_REPLAY_BYTES = 2**24  # of activations at a time: few enough for a large cache, enough for many threads
_MOST_VALUES = 2**31  # of an image: places are numbered in 32 bits


class OnePass:
    """What one pass over a layer's activations leaves: thresholds, and all that counting needs of the activations.

        one = OnePass(n_values=10_000 * 13 * 13)
        for images in batches:
            one.update(model(images))
        tally = Tally(one.thresholds(), num_concepts)
        for first, acts in one.replay():
            tally.update(acts, masks[first : first + len(acts)])

    Args:
        n_values: activations of one unit over the whole dataset, ``N * h * w``. None if it is not known: all
            activations are kept then.
        quantile: in (0, 1), or a sequence of several.
        at_most: ``n_values`` is only an upper limit; the thresholds are those of the activations that came.
        top_images: images to find for each unit.
        store: for the candidates; without it, one of its own.
        layer: name of the layer in the store.
        backend: see :func:`pydissect.fast_iou`.

    Attributes:
        finder: of the thresholds, or None where ``n_values`` is not known yet.
        top: the units' top images; None before the first batch.
        images: images seen.

    Raises:
        InputError: see :class:`pydissect.ThresholdFinder`.
    """

    def __init__(
        self,
        n_values: int | None,
        quantile: Quantiles = 0.005,
        *,
        at_most: bool = False,
        top_images: int = 0,
        store: CandidateStore | None = None,
        layer: str = "",
        backend: str = "auto",
    ) -> None:
        self.finder = None if n_values is None else ThresholdFinder(n_values, quantile, backend=backend)
        self.top: TopImages | None = None
        self.images = 0
        self._quantile = quantile
        self._at_most = at_most
        self._num_top = top_images
        self._store = CandidateStore() if store is None else store
        self._layer = layer
        self._backend = backend
        self._bound: Tensor | None = None
        self._device = torch.device("cpu")
        self._drop_at = _LEAST_BYTES

    def update(self, acts: Any) -> None:
        """Takes up a batch of activations ``[N, U, h, w]``, fp32, fp16 or bf16.

        Raises:
            InputError: another shape, dtype, device or number of units than before, more values than ``n_values``, or
                no room for what must be kept.
        """
        acts = as_acts(acts)
        images, units, h, w = acts.shape
        if units * h * w >= _MOST_VALUES:
            raise InputError(f"acts: expected fewer than 2^31 activations an image, found {units} x {h} x {w}")
        if self.top is None:
            self.top = TopImages(self._num_top, units)
        if self.finder is not None:
            self.finder.update(acts)
            bound = self.finder.bound()
            if self._bound is not None:
                # Not maximum(), which may flush subnormals.
                bound = torch.where(bound > self._bound, bound, self._bound)
        else:
            bound = torch.full((units,), -torch.inf, device=acts.device)
        self._device = acts.device
        backend = choose_backend(self._backend, acts.device)
        candidates, peaks = backend.sift(acts, bound, self.top.bound().to(acts.device))
        self.top.update(peaks, self.images)
        self._store.add(self._layer, candidates)
        self.images += images
        if self.finder is not None and self._store.in_memory(self._layer) > self._drop_at:
            self._drop()

    def thresholds(self) -> Tensor:
        """The thresholds, ``[U]`` fp32, or ``[L, U]`` for several quantiles; see :meth:`ThresholdFinder.compute`.

        Raises:
            InputError: there were fewer activations than ``n_values``.
        """
        if self.finder is None:
            self.finder = self._of_all()
        elif self._at_most:
            self.finder.shorten(self.finder.seen)
        return self.finder.compute()

    def replay(self) -> Iterator[tuple[int, Tensor]]:
        """The activations once more, on their device, a few images at a time: the number of the first image, and
        ``[N, U, h, w]``.

        Each has the values of its candidates, and low ones everywhere else: what is counted of them above the
        thresholds, any of the quantiles', is the same.
        """
        backend = choose_backend(self._backend, self._device)
        first = 0
        for candidates in self._store.batches(self._layer):
            images, units, h, w = candidates.shape
            step = max(_REPLAY_BYTES // max(units * h * w * candidates.values.itemsize, 1), 1)
            for begin in range(0, images, step):
                part = _part(candidates, begin, min(begin + step, images))
                yield first + begin, backend.spread(part.to(self._device))
            first += images

    def _of_all(self) -> ThresholdFinder:
        """A finder that has seen all that is kept."""
        shapes = [candidates.shape for candidates in self._store.batches(self._layer)]
        n_values = sum(images * h * w for images, _, h, w in shapes)
        if n_values == 0:
            raise InputError("acts: expected at least one image, found none")
        finder = ThresholdFinder(n_values, self._quantile, backend=self._backend)
        for _, acts in self.replay():
            finder.update(acts)
        return finder

    def _drop(self) -> None:
        """Drops the candidates that are none under the bound as it is by now."""
        assert self.finder is not None
        bound = self._bound = self.finder.bound(tight=True)
        on_cpu = bound.cpu()
        # Where they are kept, whatever finds them.
        backend = choose_backend(self._backend, on_cpu.device) if bound.device == on_cpu.device else load_backend("cpu")
        self._store.change(self._layer, lambda candidates: backend.prune(candidates, on_cpu))
        self._drop_at = max(int(_GROWTH * self._store.in_memory(self._layer)), _LEAST_BYTES)


def _part(candidates: Candidates, begin: int, end: int) -> Candidates:
    first, last = candidates.offsets[begin].item(), candidates.offsets[end].item()
    return Candidates(
        (end - begin, *candidates.shape[1:]),
        candidates.offsets[begin : end + 1] - first,
        candidates.places[first:last],
        candidates.values[first:last],
    )
