"""The packed masks of a dataset, made once and kept in a file that notices when the dataset changed."""

import tempfile
import warnings
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from .broden import Broden
from .cache import cache_path, writable
from .categories import Categories
from .errors import InputError
from .files import atomic_write
from .mask_file import MaskWriter, read_masks
from .masks import PackedMasks
from .packing import IGNORED, UNKNOWN, ImageMasks, Vocabulary, pack_labels
from .parallel import ordered_map
from .progress import Progress, silent

_ROWS = 8  # that a thread takes at once, so that handing them over costs little
_AHEAD = 64 // _ROWS  # such groups decoded before the first is written


def dataset_categories(data: Broden) -> Categories:
    """The categories of a dataset, on its concept axis."""
    places = {name: place for place, name in enumerate(data.categories)}
    of_concept = torch.tensor([places[concept.category] for concept in data.concepts], dtype=torch.int64)
    return Categories(data.categories, of_concept)


def pack_dataset(
    data: Broden,
    path: Path,
    *,
    limit: int | None = None,
    workers: int = 1,
    progress: Progress = silent,
    metadata: dict[str, str] | None = None,
) -> None:
    """Packs the label PNGs of a dataset into a mask file, written as they are decoded.

    Args:
        data: the dataset.
        path: of the file to write; it appears when it is complete.
        limit: pack the first so many rows only.
        workers: threads that decode.
        progress: told of every row.
        metadata: more text to keep in the file.

    Raises:
        InputError: a picture or a label that is wrong; nothing is written then.
    """
    lookup = np.full(max(concept.number for concept in data.concepts) + 1, UNKNOWN, np.int32)
    lookup[0] = IGNORED
    for concept in data.concepts:
        lookup[concept.number] = concept.index
    vocabulary = Vocabulary.of(lookup)

    def pack(rows: range) -> list[ImageMasks]:
        return [pack_row(i) for i in rows]

    def pack_row(i: int) -> ImageMasks:
        maps, whole = data.read_labels(i)
        # The rows go to the threads, so each is packed in its own; read_labels has refused unknown labels.
        images, unknown = pack_labels(torch.from_numpy(maps)[None], vocabulary, 1, lookup[list(whole)].tolist())
        assert unknown is None
        return images

    total = len(data) if limit is None else min(limit, len(data))
    groups = [range(total)[begin : begin + _ROWS] for begin in range(0, total, _ROWS)]
    try:
        with atomic_write(path) as file, closing(ordered_map(pack, groups, workers, _AHEAD)) as packed:
            writer = MaskWriter(file, data.mask_size, dataset_categories(data), metadata)
            progress("packing masks", 0, total)
            for done, image in enumerate(chain.from_iterable(packed), start=1):
                writer.append(image)
                progress("packing masks", done, total)
            writer.finish()
    except OSError as error:
        # A write to an open file does not say to which; pictures that cannot be read are InputErrors.
        error.filename = str(path)
        raise


def cached_masks(
    data: Broden,
    *,
    limit: int | None = None,
    workers: int = 1,
    progress: Progress = silent,
    fingerprint: str | None = None,
) -> PackedMasks:
    """The packed masks of a dataset, memory-mapped; from the cache if they are there and the dataset is unchanged.

    Args:
        data: the dataset.
        limit: the first so many rows only.
        workers: threads that decode, where the masks have to be packed.
        progress: told of every row that is packed.
        fingerprint: of the dataset, where it is known.

    Raises:
        InputError: a picture or a label that is wrong.
    """
    total = len(data) if limit is None else min(limit, len(data))
    fingerprint = fingerprint or data.fingerprint()
    for rows in dict.fromkeys((len(data), total)):
        masks = _load(_cache_path(data, rows), fingerprint)
        if masks is not None:
            return masks[:total]
    path = _cache_path(data, total)
    metadata = {"dataset": fingerprint}
    if writable(path.parent):
        pack_dataset(data, path, limit=limit, workers=workers, progress=progress, metadata=metadata)
        return PackedMasks.load(path)
    warnings.warn(
        f"{path.parent} cannot be written, so the packed masks are not kept; set PYDISSECT_CACHE to another folder",
        stacklevel=2,
    )
    with tempfile.TemporaryDirectory(prefix="pydissect-") as folder:
        path = Path(folder) / "masks.safetensors"
        pack_dataset(data, path, limit=limit, workers=workers, progress=progress, metadata=metadata)
        # The map outlives the file's name.
        return PackedMasks.load(path)


def cached_path(data: Broden) -> Path:
    """Where the cache keeps, or would keep, the masks of a dataset."""
    return _cache_path(data, len(data))


def _cache_path(data: Broden, rows: int) -> Path:
    return cache_path("masks", data, rows)


def _load(path: Path, fingerprint: str) -> PackedMasks | None:
    if not path.exists():
        return None
    try:
        tensors, metadata, bitmap_map = read_masks(path)
        if metadata.get("dataset") != fingerprint:
            return None
        return PackedMasks.from_file(path, tensors, metadata, bitmap_map)
    except InputError:
        # Damaged, or of another version: packed anew, which replaces it.
        return None
