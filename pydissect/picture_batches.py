"""The pictures of a dataset in batches, as a model takes them."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from .broden import Broden, Images
from .image_cache import CachedImages, cached_images, image_writer
from .normalize import Normalization
from .parallel import ordered_map


class PictureBatches:
    """Consecutive pictures of a dataset, decoded in threads while the model runs.

    Args:
        data: the dataset.
        rows: their numbers.
        normalization: of the pictures.
        input_size: height and width that the model takes; None for those of the dataset.
        batch_size: images a batch.
        workers: threads that decode.
        image_cache: keep the decoded pictures in a file for the next time, and take them from there.
        fingerprint: of the dataset.
    """

    def __init__(
        self,
        data: Broden,
        rows: range,
        *,
        normalization: Normalization,
        input_size: tuple[int, int] | None,
        batch_size: int,
        workers: int,
        image_cache: bool,
        fingerprint: str,
    ) -> None:
        self._data = data
        self._rows = rows
        self._images = Images(data, input_size or data.image_size)
        self._normalization = normalization
        self._batch_size = batch_size
        self._workers = workers
        self._image_cache = image_cache
        self._fingerprint = fingerprint
        self._cached = self._from_cache()

    def example(self) -> Tensor:
        """The first picture, ``[1, 3, H, W]``."""
        first = self._rows[:1]
        if self._cached is not None:
            return self._normalized(self._cached[first])
        return self._normalized(torch.from_numpy(self._images[first.start])[None])

    def image_name(self, i: int) -> str:
        """What to call the ``i``-th of them in an error."""
        return self._data.rows[self._rows[i]].image

    def __iter__(self) -> Iterator[tuple[range, Tensor]]:
        """The numbers of a batch's pictures, and ``[B, 3, H, W]``; the same every time."""
        if self._cached is None:
            yield from self._decoded()
            self._cached = self._from_cache()
            return
        for rows in self._batches():
            pictures = self._normalized(self._cached[rows])
            self._cached.release(rows)
            yield rows, pictures

    def _batches(self) -> Iterator[range]:
        for begin in range(0, len(self._rows), self._batch_size):
            yield self._rows[begin : begin + self._batch_size]

    def _decoded(self) -> Iterator[tuple[range, Tensor]]:
        # Two batches: one to be taken, one to be ready after it.
        ahead = 2 * self._batch_size
        with ExitStack() as stack:
            pictures = stack.enter_context(
                closing(ordered_map(self._images.__getitem__, self._rows, self._workers, ahead))
            )
            writer = None
            if self._image_cache:
                arguments = (self._data, self._images.size, self._rows, self._fingerprint)
                writer = stack.enter_context(image_writer(*arguments))
            for rows in self._batches():
                batch = np.stack(list(islice(pictures, len(rows))))
                if writer is not None:
                    writer.append(batch)
                yield rows, self._normalized(torch.from_numpy(batch))

    def _from_cache(self) -> CachedImages | None:
        if not self._image_cache:
            return None
        return cached_images(self._data, self._images.size, self._rows, self._fingerprint)

    def _normalized(self, pictures: Tensor) -> Tensor:
        return self._normalization(pictures.permute(0, 3, 1, 2))
