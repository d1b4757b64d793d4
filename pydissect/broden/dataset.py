"""Datasets in Broden's on-disk format, read lazily."""

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .files import Files
from .index import Annotation, read_index
from .labels import Concept, known_labels, read_categories, read_concepts
from .pictures import read_label_map, read_photo, resample_nearest
from .tables import at

if TYPE_CHECKING:
    from ..masks import PackedMasks


class Broden:
    """A folder in Broden's format: photos, and the labels of their pixels.

    Opening it reads the CSV files only; pictures are decoded when asked for. An instance can be
    pickled, and read from several threads at once.

    Args:
        folder: holds index.csv, label.csv, category.csv, optionally c_<category>.csv, and `images`.
        split: `"all"`, or one of the splits that index.csv names.

    Attributes:
        folder: absolute path of the dataset.
        split: as given.
        categories: `[K]` names in the order of category.csv.
        concepts: `[C]` labels of label.csv by rising number: the concept axis of masks and counters.
        rows: `[N]` rows of the split, in the order of index.csv.
        mask_size: (height, width) in pixels of every mask: sh x sw of the first row of index.csv.
        image_size: (height, width) in pixels of the photos: ih x iw of the first row of index.csv.

    Raises:
        InputError: a file or a column is missing, a cell is wrong, or there is no such split.

    Source: Bau et al., Network Dissection, CVPR 2017.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str = "all") -> None:
        self._assumed: str | None = None
        self._files = Files(folder)
        self.folder: Path = self._files.folder
        self.split = split
        self.categories: tuple[str, ...] = read_categories(self._files)
        self.concepts: tuple[Concept, ...] = read_concepts(self._files, self.categories)
        self._all_rows = read_index(self._files, self.categories, self.concepts)
        self._index_csv = self.folder / "index.csv"
        if not self._all_rows:
            raise InputError(f"{self._index_csv}: expected at least one row, found none")
        first = self._all_rows[0]
        self.mask_size: tuple[int, int] = (first.sh, first.sw)
        self.image_size: tuple[int, int] = (first.ih, first.iw)
        self.rows: tuple[Annotation, ...] = self._select(split)
        self._known = known_labels(self.concepts)
        self._warn_of_other_sizes()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def images(self) -> "Images":
        """The photos as a sequence of `[H, W, 3]` uint8 arrays, all of `image_size`."""
        return Images(self, self.image_size)

    @property
    def masks(self) -> "PackedMasks":
        """The packed concept masks of the rows, `[N, C, sh, sw]`; packed on first use and kept in a cache.

        Raises:
            InputError: a label PNG is missing or wrong; see `read_labels`.
        """
        from ..mask_cache import cached_masks
        from ..parallel import default_workers

        return cached_masks(self, workers=default_workers())

    def read_image(self, i: int, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        """Read the photo of row `i`.

        Args:
            i: 0 to `len(self) - 1`.
            size: (height, width) in pixels to resize it to (bilinear); None: ih x iw of the row.

        Returns:
            RGB uint8 `[H, W, 3]`.

        Raises:
            InputError: the file is missing, broken, too large, or lies outside the folder.
        """
        row = self.rows[i]
        where = at(self._index_csv, row.line, "image")
        return read_photo(self._files.picture(row.image, where), size or (row.ih, row.iw), where)

    def read_labels(self, i: int) -> tuple[npt.NDArray[np.uint16], tuple[int, ...]]:
        """Read the label numbers of row `i`, as in label.csv (not concept indices).

        Args:
            i: 0 to `len(self) - 1`.

        Returns:
            Maps uint16 `[layers, sh, sw]` at `mask_size`, a layer for each of the row's `bitmaps`, 0 where
            unlabelled; and the numbers of the labels that the whole photo carries.

        Raises:
            InputError: a file is missing, broken, of another size than its row says, lies outside the
                folder, or holds a label number that label.csv lacks.
        """
        row = self.rows[i]
        maps = np.empty((len(row.bitmaps), *self.mask_size), np.uint16)
        for layer, (name, column) in enumerate(zip(row.bitmaps, row.columns, strict=True)):
            where = at(self._index_csv, row.line, column)
            path = self._files.picture(name, where)
            labels = read_label_map(path, (row.sh, row.sw), self._known, where)
            maps[layer] = labels if labels.shape == self.mask_size else resample_nearest(labels, self.mask_size)
        return maps, row.whole

    def sha256(self) -> str:
        """Digest of the dataset, whatever the split: its CSV files, and path and size of its pictures.

        Pictures are not read, so one that changes at the same size goes unnoticed (`check(verify=True)`
        hashes contents).

        Returns:
            64 hexadecimal digits.

        Raises:
            InputError: a picture that index.csv names is not there.
        """
        return self._digest(lambda status: str(status.st_size))

    def fingerprint(self) -> str:
        """Like `sha256`, with the time of each picture's last change too: how a cache notices a change.

        Returns:
            64 hexadecimal digits.

        Raises:
            InputError: a picture that index.csv names is not there.
        """
        return self._assumed or self._digest(lambda status: f"{status.st_size}\0{status.st_mtime_ns}")

    def assume_unchanged(self) -> "Broden":
        """From now on `fingerprint` no longer looks at the pictures, of which Broden has 250,000; returns itself."""
        self._assumed = self.fingerprint()
        return self

    def _digest(self, describe: Callable[[os.stat_result], str]) -> str:
        digest = hashlib.sha256()
        for path in self._files.tables(self.categories):
            content = path.read_bytes()
            digest.update(f"{path.name}\0{len(content)}\0".encode())
            digest.update(content)
        pictures: dict[str, str] = {}
        for row in self._all_rows:
            for name, column in ((row.image, "image"), *zip(row.bitmaps, row.columns, strict=True)):
                if name not in pictures:
                    pictures[name] = describe(self._status(row, name, column))
        for name, description in sorted(pictures.items()):
            digest.update(f"{name}\0{description}\0".encode())
        return digest.hexdigest()

    def _status(self, row: Annotation, name: str, column: str) -> os.stat_result:
        try:
            # Quicker than to resolve the links of 250,000 files, and nothing is read.
            return os.stat(f"{self._files.images}/{name}")  # noqa: PTH116
        except OSError:
            # For its message, which tells a missing file from a forbidden one.
            return self._files.picture(name, at(self._index_csv, row.line, column)).stat()

    def _select(self, split: str) -> tuple[Annotation, ...]:
        if split == "all":
            return self._all_rows
        rows = tuple(row for row in self._all_rows if row.split == split)
        if not rows:
            names = ", ".join(repr(name) for name in dict.fromkeys(row.split for row in self._all_rows))
            raise InputError(f"{self._index_csv}: expected split 'all' or one of {names}, found {split!r}")
        return rows

    def _warn_of_other_sizes(self) -> None:
        others = [row for row in self.rows if (row.sh, row.sw) != self.mask_size]
        if others:
            first, (height, width) = others[0], self.mask_size
            where = at(self._index_csv, first.line, "sh")
            warnings.warn(
                f"{where}: sh x sw is {first.sh} x {first.sw}, in the first row {height} x {width}; the"
                f" labels of {len(others)} of {len(self.rows)} rows are resampled (nearest) to that",
                stacklevel=3,
            )


@dataclass(frozen=True)
class Images:
    """The photos of a dataset at one size: `images[i]` decodes photo i.

    It has what `torch.utils.data.DataLoader` asks of a dataset.

    Attributes:
        broden: the dataset.
        size: (height, width) in pixels.
    """

    broden: Broden
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.broden)

    def __getitem__(self, i: int) -> npt.NDArray[np.uint8]:
        """Decode photo `i` as uint8 `[H, W, 3]`; see `Broden.read_image`."""
        return self.broden.read_image(i, self.size)
