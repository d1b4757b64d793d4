"""Exact per-unit thresholds, streaming: the quantile of a unit's activations over the whole dataset."""

import warnings
from typing import Any

import torch
from torch import Tensor

from . import reference
from .acts import as_acts
from .arrays import same_kind
from .backends import Selection, choose_backend
from .errors import InputError
from .largest import largest
from .nonfinite import NonfiniteFlag
from .quantiles import Quantiles as Quantiles
from .quantiles import check_quantile as check_quantile

_SMALLEST_SLACK = 256  # that backends rely on
_NEGATIVE_ZERO = -(2**31)  # the bits of -0.0


class ThresholdFinder:
    """Exact thresholds from activations that come in batches.

    ``T[u]`` is the ``(k + 1)``-th largest of the unit's ``n_values`` activations,
    ``k = floor(quantile * n_values)``, so at most ``k`` of them exceed it (Bau et al.
    2017, section 2.2). Non-finite values rank as -inf. The result does not depend
    on the size, order or number of the batches, nor on how they are spread over
    finders that are merged. Memory: ``8 * U * quantile * n_values`` bytes, for the largest
    quantile, and about a kilobyte a unit, in whatever order the values come.

    Args:
        n_values: activations of one unit over the whole dataset, ``N * h * w``; over
            all finders that will be merged. ``compute`` checks it.
        quantile: in (0, 1), or a sequence of several.
        backend: see :func:`pydissect.fast_iou`.

    Raises:
        InputError: ``n_values`` is not positive, or a quantile outside (0, 1).
    """

    def __init__(self, n_values: int, quantile: Quantiles = 0.005, *, backend: str = "auto") -> None:
        if isinstance(n_values, bool) or not isinstance(n_values, int) or n_values < 1:
            raise InputError(f"n_values: expected a positive whole number, found {n_values!r}")
        self.n_values = n_values
        self.quantiles, self._several = check_quantile(quantile)
        self._ranks = [reference.rank(q, n_values) for q in self.quantiles]
        for q, k in zip(self.quantiles, self._ranks, strict=True):
            if k == 0:
                warnings.warn(
                    f"quantile {q} of {n_values} values leaves none above the threshold; no unit will have a pixel",
                    stacklevel=2,
                )
        self._backend = backend
        self._selection: Selection | None = None
        self._images = 0
        self._seen = 0
        self._nonfinite = NonfiniteFlag()

    def update(self, acts: Any) -> None:
        """Adds a batch of activations ``[N, U, h, w]``, fp32, fp16 or bf16.

        Raises:
            InputError: another shape, dtype, device or number of units than before, or more values than ``n_values``.
        """
        acts = as_acts(acts)
        units = acts.shape[1]
        seen = self._seen + acts.shape[0] * acts.shape[2] * acts.shape[3]
        if seen > self.n_values:
            raise InputError(f"acts: expected n_values = {self.n_values} activations a unit in all, found {seen}")
        selection = self._selection or self._empty(units, acts.device)
        if len(selection.fill) != units:
            raise InputError(f"acts: expected {len(selection.fill)} units as before, found {units}")
        if selection.values.device != acts.device:
            raise InputError(f"acts: expected device {selection.values.device} as before, found {acts.device}")
        self._selection = selection
        place = choose_backend(self._backend, acts.device).select(acts, selection)
        self._nonfinite.note(place, self._images, units)
        self._images += acts.shape[0]
        self._seen = seen

    def merge(self, other: "ThresholdFinder") -> "ThresholdFinder":
        """Takes up what another finder, of the same ``n_values`` and quantiles, has seen; returns itself.

        Raises:
            InputError: the two differ in ``n_values``, quantiles or number of units.
        """
        if (other.n_values, other._ranks) != (self.n_values, self._ranks):
            raise InputError(
                f"merge: expected n_values {self.n_values} and quantiles {self.quantiles}, "
                f"found {other.n_values} and {other.quantiles}"
            )
        if other._selection is not None:
            mine, theirs = self._selection, other._selection
            if mine is None:
                mine = self._empty(len(theirs.fill), theirs.values.device)
            if len(mine.fill) != len(theirs.fill):
                raise InputError(f"merge: expected {len(mine.fill)} units, found {len(theirs.fill)}")
            joined = torch.cat([_held(mine), _held(theirs).to(mine.values.device)], dim=1)
            self._selection = self._from_values(joined)
        if (first := other._nonfinite.first()) is not None:
            units = len(other._selection.fill) if other._selection else 1
            self._nonfinite.note(torch.tensor(first[0] * units + first[1]), self._images, units)
        self._images += other._images
        self._seen += other._seen
        return self

    def first_nonfinite(self) -> tuple[int, int] | None:
        """``(image, unit)`` of the first map with a non-finite value, or None."""
        return self._nonfinite.first()

    def compute(self) -> Tensor:
        """The thresholds, ``[U]`` fp32, or ``[L, U]`` if a sequence of quantiles was given. Never -0.0.

        Raises:
            InputError: fewer values were seen than ``n_values``.
        """
        if self._selection is None or self._seen != self.n_values:
            raise InputError(f"n_values: expected {self.n_values} activations a unit, found {self._seen}")
        backend = choose_backend(self._backend, self._selection.values.device)
        result = backend.values_of_ranks(self._selection, self._ranks)
        # By its bits: with subnormals flushed, adding 0.0 would lose more than the sign of -0.0.
        bits = result.view(torch.int32)
        result = torch.where(bits == _NEGATIVE_ZERO, 0, bits).view(torch.float32)
        return result if self._several else result[0]

    @property
    def seen(self) -> int:
        """Activations of a unit that have been seen."""
        return self._seen

    def bound(self, tight: bool = False) -> Tensor:
        """``[U]`` fp32: levels that the thresholds, of whichever quantile, will not fall below; -inf at first.

        Args:
            tight: the highest such level, which takes a look at all that is held.
        """
        if self._selection is None:
            raise InputError("bound: expected at least one batch, found none")
        if not tight:
            return self._selection.bound
        backend = choose_backend(self._backend, self._selection.values.device)
        return backend.values_of_ranks(self._selection, [self._selection.keep - 1])[0]

    def shorten(self, n_values: int) -> None:
        """Lowers ``n_values``, where it was an upper limit, to what it is.

        Raises:
            InputError: it would rise, or is not positive.
        """
        if not 1 <= n_values <= self.n_values:
            raise InputError(f"n_values: expected 1 to {self.n_values}, found {n_values}")
        self.n_values = n_values
        self._ranks = [reference.rank(q, n_values) for q in self.quantiles]

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, for :meth:`load_state_dict`."""
        first = self._nonfinite.first()
        return {
            "n_values": self.n_values,
            "quantiles": [str(q) for q in self.quantiles],
            "values": None if self._selection is None else _largest_held(self._selection),
            "images": self._images,
            "seen": self._seen,
            "first_nonfinite": first,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave.

        Raises:
            InputError: it is of another ``n_values`` or other quantiles.
        """
        expected = (self.n_values, [str(q) for q in self.quantiles])
        found = (state["n_values"], state["quantiles"])
        if expected != found:
            raise InputError(f"state_dict: expected n_values and quantiles {expected}, found {found}")
        values = state["values"]
        self._selection = None if values is None else self._from_values(values)
        self._images, self._seen = state["images"], state["seen"]
        self._nonfinite = NonfiniteFlag()
        if state["first_nonfinite"] is not None:
            image, unit = state["first_nonfinite"]
            self._nonfinite.note(torch.tensor(image * len(values) + unit), 0, len(values))

    def to(self, device: str | torch.device) -> "ThresholdFinder":
        """Moves what has been seen to a device; returns itself."""
        if self._selection is not None:
            self._selection = self._from_values(_held(self._selection).to(device))
        return self

    def _empty(self, units: int, device: torch.device) -> Selection:
        keep = max(self._ranks) + 1
        return Selection(
            values=torch.empty((units, keep + max(keep, _SMALLEST_SLACK)), device=device),
            fill=torch.zeros(units, dtype=torch.int64, device=device),
            bound=torch.full((units,), -torch.inf, device=device),
            keep=keep,
        )

    def _from_values(self, values: Tensor) -> Selection:
        """A selection that holds ``values [U, any]``, of which -inf are no values."""
        selection = self._empty(len(values), values.device)
        values = largest(values, min(values.shape[1], selection.keep))
        if values.shape[1] == selection.keep:
            selection.bound = values[:, -1].clone()
        selection.values[:, : values.shape[1]] = values
        selection.fill = (values > -torch.inf).sum(1)
        return selection


def _held(selection: Selection) -> Tensor:
    """The values held, ``[U, most held]``, filled up with -inf."""
    width = int(selection.fill.max()) if len(selection.fill) else 0
    return selection.held()[:, :width]


def _largest_held(selection: Selection) -> Tensor:
    """Those of the values held that can matter, ``[U, most]``, falling, filled up with -inf."""
    held = _held(selection)
    return largest(held, min(held.shape[1], selection.keep))


def quantile_thresholds(acts: Any, quantile: Quantiles = 0.005, *, backend: str = "auto") -> Any:
    """Exact thresholds ``T[u]`` with ``P(activation > T[u]) = quantile``.

    Equivalent to ``acts.transpose(0, 1).flatten(1).sort(1, descending=True).values[:, k]``
    with ``k = floor(quantile * N * h * w)``; non-finite values rank as -inf.

    Args:
        acts: ``[N, U, h, w]`` fp32, fp16 or bf16, any strides; torch, NumPy or DLPack.
        quantile: in (0, 1), or a sequence of several.
        backend: see :func:`fast_iou`.

    Returns:
        fp32 ``[U]``, or ``[L, U]`` for a sequence; of the caller's kind, on the caller's device.

    Raises:
        InputError: a wrong shape, dtype or quantile, or no image.
    """
    tensor = as_acts(acts)
    n_values = tensor.shape[0] * tensor.shape[2] * tensor.shape[3]
    check_quantile(quantile)
    if n_values == 0:
        raise InputError(f"acts: expected at least one image, found {list(tensor.shape)}")
    finder = ThresholdFinder(n_values, quantile, backend=backend)
    finder.update(tensor)
    return same_kind(acts)(finder.compute())
