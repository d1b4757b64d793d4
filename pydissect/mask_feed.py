"""Masks on their way to the device that counts, while the model runs there."""

import torch
from torch import Tensor

from .masks import PackedMasks


class MaskFeed:
    """Sends the masks of one batch after the other to a device.

    To a GPU they go from pinned memory and on a stream of their own, so that neither the host nor the model waits.

    Args:
        device: where they are counted.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._sent: PackedMasks | None = None

    def send(self, masks: PackedMasks) -> None:
        """Starts to send a batch's masks."""
        if self._stream is None:
            self._sent = masks.to(self._device)
            return
        with torch.cuda.stream(self._stream):
            self._sent = masks.map(lambda tensor: tensor.pin_memory().to(self._device, non_blocking=True))

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
