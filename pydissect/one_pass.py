"""Exact thresholds and exact counts from a single pass over a layer's activations.

The threshold of a unit is known only when all images have been seen, but the ``(k + 1)``-th
largest activation so far never exceeds it. So while the activations go by, those that
can still matter (:mod:`pydissect.candidates`) are kept, a few in a hundred; as the bound rises, those that
no longer do are dropped. Counted when the thresholds are known, they give the same integers
as the activations themselves.
"""

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from .acts import as_acts
from .backends import Backend, choose_backend, load_backend
from .candidate_store import CandidateStore
from .candidates import Candidates
from .errors import InputError
from .one_pass_file import State, read_state, write_state
from .thresholds import Quantiles, ThresholdFinder, check_quantile
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

    Over several processes or machines, each takes some of the images and saves what it has; loaded again and
    merged, they are what one pass over all images would have left, but for the candidates, of which there are more:

        one.save(f"{rank}.safetensors")
        ...
        one = OnePass.load("0.safetensors")
        for rank in range(1, ranks):
            one.merge(OnePass.load(f"{rank}.safetensors"))

    Args:
        n_values: activations of one unit over the whole dataset, ``N * h * w``, and over all passes that will be
            merged. None if it is not known: all activations are kept then.
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
        shape: ``(U, h, w)`` of the maps; None before the first batch.

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
        self.shape: tuple[int, int, int] | None = None
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
        self.shape = units, h, w
        self._drop_if_many()

    def merge(self, other: "OnePass") -> Self:
        """Takes up what another pass has seen, its images as those after this one's own; returns itself.

        Thresholds, counts and top images are then those of one pass over all images.

        Raises:
            InputError: the two differ in ``n_values``, quantiles, ``at_most``, number of top images or shape of the
                maps, or there is no room for what must be kept.
        """
        for what, mine, theirs in (
            ("n_values", self.finder and self.finder.n_values, other.finder and other.finder.n_values),
            ("quantiles", self._levels(), other._levels()),
            ("at_most", self._at_most, other._at_most),
            ("top_images", self._num_top, other._num_top),
            ("maps [U, h, w]", self.shape or other.shape, other.shape or self.shape),
        ):
            if mine != theirs:
                raise InputError(f"merge: expected {what} {mine}, found {theirs}")
        if self.finder is not None and other.finder is not None:
            self.finder.merge(other.finder)
        if other.top is not None:
            if self.top is None:
                self.top = TopImages(self._num_top, len(other.top.values))
            self.top.merge(other.top, self.images)
        self._store.add_all(self._layer, other._store, other._layer)
        if self.shape is None:
            self.shape, self._device = other.shape, other._device
        self.images += other.images
        self._drop_if_many()
        return self

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Writes all that :meth:`load` needs, and more ``metadata`` if given; the file appears when it is complete.

        Of the candidates, it holds those that are some under the bound as it is by now, in 8 bytes each for fp32 and
        6 for fp16 and bf16.

        Raises:
            InputError: there were activations of several map sizes or dtypes.
        """
        finder = None if self.finder is None else self.finder.state_dict()
        tensors = {}
        if self.top is not None:
            tensors = {"top_values": self.top.values, "top_images": self.top.images, "top_places": self.top.places}
        batches = self._store.batches(self._layer)
        if finder is not None and finder["values"] is not None:
            tensors["largest"] = finder["values"]
            bound = self._tight_bound().cpu()
            backend = self._host_backend()
            batches = (backend.prune(candidates, bound) for candidates in batches)
        quantiles, several = check_quantile(self._quantile)
        facts = {
            "n_values": None if finder is None else finder["n_values"],
            "first_nonfinite": None if finder is None else finder["first_nonfinite"],
            "quantiles": [str(quantile) for quantile in quantiles],
            "several": several,
            "at_most": self._at_most,
            "top_number": self._num_top,
            "images": self.images,
        }
        text = {name: json.dumps(value) for name, value in facts.items()}
        write_state(Path(path), {**(metadata or {}), **text}, tensors, batches)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        store: CandidateStore | None = None,
        layer: str = "",
        device: str | torch.device = "cpu",
        backend: str = "auto",
    ) -> Self:
        """Reads a file that :meth:`save` wrote. Candidates stay in the file, which is memory-mapped.

        Args:
            path: of the file.
            store: for the candidates, and those of what is merged; without it, one of its own.
            layer: name of the layer in the store.
            device: where the thresholds are found, the replay comes, and further activations are.
            backend: see :func:`pydissect.fast_iou`.

        Raises:
            InputError: no such file, another format, a newer version, or damaged contents.
        """
        path = Path(path)
        state = read_state(path)
        try:
            one = cls._of_state(state, CandidateStore() if store is None else store, layer, backend)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as what a pass has left: {error}") from None
        one._device = torch.device(device)
        if one.finder is not None:
            one.finder.to(device)
        return one

    @classmethod
    def _of_state(cls, state: State, store: CandidateStore, layer: str, backend: str) -> Self:
        """Restores a pass.

        Raises:
            InputError, KeyError, TypeError, ValueError: the state is not consistent.
        """
        n_values, first_nonfinite, quantiles, several, at_most, number, images = (
            json.loads(state.metadata[name])
            for name in ("n_values", "first_nonfinite", "quantiles", "several", "at_most", "top_number", "images")
        )
        if images != sum(len(candidates.offsets) - 1 for candidates in state.batches):
            raise ValueError(f"expected candidates of {images} images")
        one = cls(
            n_values,
            quantiles if several else quantiles[0],
            at_most=at_most,
            top_images=number,
            store=store,
            layer=layer,
            backend=backend,
        )
        one.images, one.shape = images, state.shape
        if state.shape is None:
            return one
        units, h, w = state.shape
        top = one.top = TopImages(number, units)
        for name, mine in (("values", top.values), ("images", top.images), ("places", top.places)):
            setattr(top, name, _checked(f"top_{name}", state.tensors[f"top_{name}"], mine.dtype, (units, number)))
        if one.finder is not None:
            largest = state.tensors["largest"]
            _checked("largest", largest, torch.float32, (units, largest.shape[-1]))
            if bool(largest.isnan().any()):
                raise ValueError("expected no NaN among the largest activations")
            one.finder.load_state_dict(
                {
                    **one.finder.state_dict(),
                    "values": largest,
                    "images": images,
                    "seen": images * h * w,
                    "first_nonfinite": first_nonfinite,
                }
            )
        for candidates in state.batches:
            store.add_mapped(layer, candidates)
        return one

    @property
    def batches(self) -> list[int]:
        """Images of each batch that was seen."""
        return self._store.sizes(self._layer)

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

    def _drop_if_many(self) -> None:
        """Drops the candidates that are none under the bound as it is by now, if there are many more than last time."""
        if self.finder is None or self._store.in_memory(self._layer) <= self._drop_at:
            return
        bound = self._tight_bound().cpu()
        backend = self._host_backend()
        self._store.change(self._layer, lambda candidates: backend.prune(candidates, bound))
        self._drop_at = max(int(_GROWTH * self._store.in_memory(self._layer)), _LEAST_BYTES)

    def _levels(self) -> list[str]:
        return [str(Fraction(str(quantile))) for quantile in check_quantile(self._quantile)[0]]

    def _tight_bound(self) -> Tensor:
        assert self.finder is not None
        self._bound = self.finder.bound(tight=True)
        return self._bound

    def _host_backend(self) -> Backend:
        """For candidates where they are kept, whatever finds them."""
        on_cpu = torch.device("cpu")
        return choose_backend(self._backend, on_cpu) if self._device == on_cpu else load_backend("cpu")


def _checked(name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if tensor.dtype != dtype or tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected {dtype} {list(shape)}, found {tensor.dtype} {list(tensor.shape)}")
    return tensor


def _part(candidates: Candidates, begin: int, end: int) -> Candidates:
    first, last = candidates.offsets[begin].item(), candidates.offsets[end].item()
    return Candidates(
        (end - begin, *candidates.shape[1:]),
        candidates.offsets[begin : end + 1] - first,
        candidates.places[first:last],
        candidates.values[first:last],
    )
