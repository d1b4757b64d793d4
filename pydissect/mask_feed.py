"""Masks on their way to the device that counts, while the model runs there, or there for good."""

from collections.abc import Iterable, Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .broden import Broden
from .devices import free_memory
from .masks import PackedMasks

_RESIDENT_SHARE = 0.25  # of a device's free memory, that masks may take for good

_resident: WeakKeyDictionary[Broden, tuple[str, PackedMasks]] = WeakKeyDictionary()


def resident_masks(data: Broden, fingerprint: str, masks: PackedMasks, device: torch.device) -> PackedMasks | None:
    """A dataset's masks in the memory of a GPU, sent once and kept there for as long as ``data`` lives.

    Args:
        data: the dataset; its masks are kept on one device.
        fingerprint: of the dataset as it is.
        masks: of its first images, as many as are needed.
        device: where they are counted.

    Returns:
        The masks; None where they would take more than a quarter of what is free, or the device is no CUDA device.
    """
    kept_fingerprint, kept = _resident.pop(data, ("", masks))
    if kept_fingerprint != fingerprint or kept.device != device or len(kept) < len(masks):
        compact = masks.compact()
        if compact.nbytes > _RESIDENT_SHARE * free_memory(device):
            return None
        kept = compact.to(device)
    _resident[data] = fingerprint, kept
    return kept[: len(masks)]


class MaskFeed:
    """Gives the masks of one batch after the other on a device.

    To a GPU they go from pinned memory and on a stream of their own, so that neither the host nor the model waits.

    Args:
        device: where they are counted.
        resident: all masks, where they are on the device already; none is sent then.
    """

    def __init__(self, device: torch.device, resident: PackedMasks | None = None) -> None:
        self._device = device
        self._resident = resident
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda" and resident is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._sent: PackedMasks | None = None

    def send(self, masks: PackedMasks, first: int) -> None:
        """Starts to send the masks of a batch, whose first image is number ``first`` of all."""
        if self._resident is not None:
            self._sent = self._resident[first : first + len(masks)]
        elif self._stream is None or masks.device == self._device:
            self._sent = masks.to(self._device)
        else:
            with torch.cuda.stream(self._stream):
                self._sent = masks.compact().map(lambda tensor: tensor.pin_memory().to(self._device, non_blocking=True))

    def ahead(self, batches: Iterable[PackedMasks]) -> Iterator[tuple[PackedMasks, PackedMasks]]:
        """Each of consecutive batches, as it is and on the device; the next is on its way when one is given."""
        done, before = 0, None
        for batch in batches:
            taken = None if before is None else self.take()
            self.send(batch, done)
            if before is not None and taken is not None:
                yield before, taken
            done += len(batch)
            before = batch
        if before is not None:
            yield before, self.take()

    def take(self) -> PackedMasks:
        """The masks sent last, for work that is queued from now on."""
        masks, self._sent = self._sent, None
        assert masks is not None
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for value in vars(masks).values():
                if isinstance(value, Tensor):
                    # Its memory was taken on the other stream, which may not reuse it before this one is done.
                    value.record_stream(current)
        return masks
